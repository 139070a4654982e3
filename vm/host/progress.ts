const REMINDER_MS = 5_000

/** Prints a slow step on stderr, repeats it every few seconds, and prints when it is done. */
export async function showProgress<T>(text: string, work: () => Promise<T>): Promise<T> {
  const startMs = performance.now()
  const elapsed = (): string => `${((performance.now() - startMs) / 1000).toFixed(0)} s`
  const say = (line: string): void => void process.stderr.write(`${line}\n`)

  say(`${text} ...`)
  const reminder = setInterval(() => say(`${text} ... ${elapsed()}`), REMINDER_MS)
  try {
    const result = await work()
    say(`${text}: done in ${elapsed()}`)
    return result
  } finally {
    clearInterval(reminder)
  }
}
