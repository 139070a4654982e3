/** One message of the guest's kernel. */
export interface KernelMessage {
  /** As in syslog: 0 emerg, 1 alert, 2 crit, 3 err, 4 warning, 5 notice, 6 info, 7 debug. */
  level: number
  /** Since the guest's kernel started. */
  seconds: number
  text: string
}

const LINE = /^<(\d+)>\[ *(\d+\.\d+)\] (.*)$/
const LEVEL_MASK = 7

/** Parses what `dmesg -r` prints. A line without a header goes on with the message before it. */
export function parseKernelLog(text: string): KernelMessage[] {
  const messages: KernelMessage[] = []
  for (const line of text.split('\n')) {
    const [, priority, seconds, message] = LINE.exec(line) ?? []
    const last = messages.at(-1)
    if (priority !== undefined) {
      messages.push({ level: Number(priority) & LEVEL_MASK, seconds: Number(seconds), text: message! })
    } else if (last !== undefined && line !== '') {
      last.text += `\n${line}`
    }
  }
  return messages
}

/** The message level of a warning; what is more severe is lower. */
const WARNING = 4

/** Warnings that have to do with shares, and stack traces whatever they are about. */
export function loudMessages(log: readonly KernelMessage[]): string[] {
  return log
    .filter(
      ({ level, text }) =>
        (level <= WARNING && /fuse|virtio/i.test(text)) || /Call Trace|BUG:|WARNING:|hung task/.test(text),
    )
    .map(({ text }) => text)
}
