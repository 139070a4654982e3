import { oneThreadByOptions } from '../share/one-thread-reasons.js'
import type { ShareConfig } from '../share/share-config.js'

/** QEMU expects a comma in an option's value doubled. */
const qemuValue = (value: string) => value.replaceAll(',', ',,')
const shellWord = (word: string) =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

/** The tag to suggest if none was given. */
export const DEFAULT_TAG = 'share'

/**
 * The QEMU arguments that attach a share, as shell words. vhost-user needs shared guest memory; a queue of 1024 lets
 * one request carry 1 MiB. Several threads need a queue each.
 */
export function qemuArguments(config: ShareConfig, memory = '4G'): string {
  const { socketPath, tag, queueThreads } = config
  const queues = oneThreadByOptions(config) === undefined ? queueThreads : 1
  const device = [
    'vhost-user-fs-pci,queue-size=1024,chardev=fs0',
    `tag=${qemuValue(tag ?? DEFAULT_TAG)}`,
    ...(queues > 1 ? [`num-request-queues=${queues}`] : []),
  ]
  const words = [
    ...['-m', memory],
    ...['-object', `memory-backend-memfd,id=mem,size=${memory},share=on`],
    ...['-numa', 'node,memdev=mem'],
    ...['-chardev', `socket,id=fs0,path=${qemuValue(socketPath)}`],
    ...['-device', device.join(',')],
  ]
  return words.map(shellWord).join(' ')
}
