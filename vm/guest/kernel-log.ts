/** One message of the guest's kernel. */
export interface KernelMessage {
  /** The level as in syslog: 0 emerg, 1 alert, 2 crit, 3 err, 4 warning, 5 notice, 6 info, 7 debug. */
  level: number
  /** Seconds since the guest's kernel started; undefined in a log without times (CONFIG_PRINTK_TIME, printk.time). */
  seconds: number | undefined
  text: string
}

// The thread or processor after the time is CONFIG_PRINTK_CALLER's.
const LINE = /^<(\d+)>(?:\[ *(\d+\.\d+)\](?:\[ *[CT]\d+\])? )?(.*)$/
const LEVEL_MASK = 7

/** Parses the output of `dmesg -r`. A line without a header continues the message before it. */
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

/** The level of a warning; lower levels are more severe. */
const WARNING = 4
/** Matches reports of the kernel's own checks: lockdep and KASAN print WARNING: and BUG:. */
const REPORT =
  /Call Trace|BUG:|WARNING:|Oops|UBSAN:|refcount_t:|hung task|blocked for more than|general protection fault|kmemleak: \d+ new/

/** Returns true for a warning about shares, and for any report of a kernel fault. */
export function isTrouble({ level, text }: KernelMessage): boolean {
  return REPORT.test(text) || (level <= WARNING && /fuse|virtio/i.test(text))
}

/** Returns the messages that report trouble. */
export function loudMessages(log: readonly KernelMessage[]): string[] {
  return log.filter(isTrouble).map(({ text }) => text)
}
