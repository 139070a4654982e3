/** `node serve-module.js MODULE SOCKET OPTIONS`: serves a module's file system, in a process that a test can kill. */
import { pathToFileURL } from 'node:url'
import { serveFileSystem } from 'virtio-fs-ts'

const [, , module = '', socketPath = '', options = '{}'] = process.argv
const { serve = {}, make = {} } = JSON.parse(options) as { serve?: object; make?: object }
const { default: makeFileSystem } = await import(pathToFileURL(module).href)
const served = serveFileSystem(await makeFileSystem(make), { socketPath, once: true, ...serve })
served.on('mount', ({ minor }) => process.stdout.write(`mounted by 7.${minor}\n`))
served.on('unmount', () => process.stdout.write('unmounted\n'))
await served.ready
process.stdout.write('ready\n')
await served.closed
