/** Options of serveFileSystem, as a program without types may get them wrong. */
import t from 'tap'
import { directory, type ServeOptions, serveFileSystem } from 'virtio-fs-ts'
import { tempDir } from '../../support/host/temp-dir.js'

const root = directory({})

t.test('a wrong option is named, with its value and what it may be', async (t) => {
  const socketPath = `${tempDir(t)}/socket`
  const wrong: readonly (readonly [object | undefined, string])[] = [
    [undefined, 'socketPath is undefined, not the path of a socket, of at most 107 bytes'],
    [{ socketPath: '' }, 'socketPath is "", not the path of a socket, of at most 107 bytes'],
    [
      { socketPath: '/'.padEnd(108, 'x') },
      `socketPath is "/${'x'.repeat(39)}", not the path of a socket, of`,
    ],
    [{ socketPath, cache: 'sometimes' }, 'cache is "sometimes", not one of never, metadata, auto, always'],
    [{ socketPath, directIo: true }, 'directIo is true, not one of policy, always, o-direct, never'],
    [{ socketPath, readonly: true }, 'there is no option "readonly"'],
    [{ socketPath, toString: true }, 'there is no option "toString"'],
    [{ socketPath, readOnly: 'no' }, 'readOnly is "no", not true or false'],
    [{ socketPath, attrTimeoutSec: '5' }, 'attrTimeoutSec is "5", not a number of seconds from 0 on'],
    [
      { socketPath, entryTimeoutSec: Number.NaN },
      'entryTimeoutSec is NaN, not a number of seconds from 0 on',
    ],
    [{ socketPath, methodTimeoutMs: '10s' }, 'methodTimeoutMs is "10s", not a number from 0 on'],
    [{ socketPath, logger: null }, 'logger is [object Null], not an object'],
    [{ socketPath, tag: 7 }, 'tag is 7, not a string'],
  ]
  for (const [options, message] of wrong)
    t.throws(() => serveFileSystem({ root }, options as ServeOptions), { name: 'TypeError', message })
})

t.test('an option may be undefined', async (t) => {
  const socketPath = `${tempDir(t)}/socket`
  const options = { socketPath, cache: undefined, tag: undefined } as unknown as ServeOptions
  const served = serveFileSystem({ root }, options)
  await served.ready
  await served.close()
})

t.test('a socket that cannot be made rejects `ready` with the code of Node', async (t) => {
  const socketPath = `${tempDir(t)}/missing/socket`
  const { ready } = serveFileSystem({ root }, { socketPath })
  await t.rejects(ready, { code: 'ENOENT', message: `listening at ${socketPath} failed: ENOENT` })
})
