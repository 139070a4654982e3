const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const hooks = new Set<() => void>()
let installed = false

/**
 * Runs `hook` when this process ends, by itself, by an error or by a signal. Returns a function that cancels the
 * hook.
 */
export function onProcessExit(hook: () => void): () => void {
  install()
  hooks.add(hook)
  return () => hooks.delete(hook)
}

function install(): void {
  if (installed) return
  installed = true
  process.on('exit', runHooks)
  for (const signal of ENDING_SIGNALS) {
    process.once(signal, () => {
      runHooks()
      // The handler is gone now: the signal has its default effect.
      process.kill(process.pid, signal)
    })
  }
}

function runHooks(): void {
  // Reverse order: a folder is removed after the processes that were started in it have ended.
  for (const hook of [...hooks].reverse()) hook()
  hooks.clear()
}
