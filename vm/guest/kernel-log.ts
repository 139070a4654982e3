/** One message of the guest's kernel. */
export interface KernelMessage {
  /** As in syslog: 0 emerg, 1 alert, 2 crit, 3 err, 4 warning, 5 notice, 6 info, 7 debug. */
  level: number
  /** Since the guest's kernel started; undefined in a log without times (CONFIG_PRINTK_TIME, printk.time). */
  seconds: number | undefined
  text: string
}

// The thread or processor after the time is CONFIG_PRINTK_CALLER's.
const LINE = /^<(\d+)>(?:\[ *(\d+\.\d+)\](?:\[ *[CT]\d+\])? )?(.*)$/
const LEVEL_MASK = 7

/** Parses what `dmesg -r` prints. A line without a header goes on with the message before it. */
export function parseKernelLog(text: string): KernelMessage[] {
  const messages: KernelMessage[] = []
  for (const line of text.split('\n')) {
    const [, priority, seconds, message] = LINE.exec(line) ?? []
    const last = messages.at(-1)
    if (priority !== undefined) {
      messages.push({
        level: Number(priority) & LEVEL_MASK,
        seconds: seconds === undefined ? undefined : Number(seconds),
        text: message!,
      })
    } else if (last !== undefined && line !== '') {
      last.text += `\n${line}`
    }
  }
  return messages
}

/** The message level of a warning; what is more severe is lower. */
const WARNING = 4
/** Reports of the kernel's own checks: lockdep and KASAN say WARNING: and BUG:. */
const REPORT =
  /Call Trace|BUG:|WARNING:|Oops|UBSAN:|refcount_t:|hung task|blocked for more than|general protection fault|kmemleak: \d+ new/

/** True for a warning that has to do with shares, and for a report of a fault of the kernel whatever it is about. */
export function isTrouble({ level, text }: KernelMessage): boolean {
  return REPORT.test(text) || (level <= WARNING && /fuse|virtio/i.test(text))
}

/** The messages that tell of trouble. */
export function loudMessages(log: readonly KernelMessage[]): string[] {
  return log.filter(isTrouble).map(({ text }) => text)
}
