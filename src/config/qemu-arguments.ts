import type { ShareConfig } from '../share/share-config.js'

/** QEMU expects a comma in an option's value doubled. */
const qemuValue = (value: string) => value.replaceAll(',', ',,')
const shellWord = (word: string) =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

/** The tag to suggest if none was given. */
export const DEFAULT_TAG = 'share'

/**
 * The QEMU arguments that attach a share, as shell words. vhost-user needs shared guest memory; a queue of 1024 lets
 * one request carry 1 MiB.
 */
export function qemuArguments({ socketPath, tag }: ShareConfig, memory = '4G'): string {
  const words = [
    ...['-m', memory],
    ...['-object', `memory-backend-memfd,id=mem,size=${memory},share=on`],
    ...['-numa', 'node,memdev=mem'],
    ...['-chardev', `socket,id=fs0,path=${qemuValue(socketPath)}`],
    ...['-device', `vhost-user-fs-pci,queue-size=1024,chardev=fs0,tag=${qemuValue(tag ?? DEFAULT_TAG)}`],
  ]
  return words.map(shellWord).join(' ')
}
