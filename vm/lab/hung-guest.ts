import type { Guest } from '../guest/guest.js'
import { parseKernelLog } from '../guest/kernel-log.js'

const LOOK_TIMEOUT_MS = 10_000

/** Threads of io-actor, and all that sleep without being interruptible: their names and, with CONFIG_STACKTRACE, their stacks. */
const LOOK = `
for task in /proc/[0-9]*/task/[0-9]*; do
  read -r name <$task/comm && read -r state <$task/stat || continue
  state=\${state##*) }
  state=\${state%% *}
  [ "$name" = io-actor ] || [ "$state" = D ] || continue
  read -r place <$task/wchan
  echo "$name \${task##*/} ($state) in $place"
  cat $task/stack
done 2>/dev/null`

/** SysRq-w: the kernel itself prints the tasks that are blocked. */
const ASK_KERNEL = 'dmesg -c >/dev/null; echo w >/proc/sysrq-trigger && dmesg -r -c'

/** Where the tasks of a guest that hangs are, as text. Empty when it does not even say that. */
export async function stacksOf(guest: Guest): Promise<string[]> {
  const seen = await guest.output(LOOK, { timeoutMs: LOOK_TIMEOUT_MS }).catch(() => '')
  const blocked = /^\[<0>\]/m.test(seen)
    ? ''
    : await guest.output(ASK_KERNEL, { timeoutMs: LOOK_TIMEOUT_MS }).catch(() => '')
  return [seen.trim(), ...parseKernelLog(blocked).map(({ text }) => text)].filter((text) => text !== '')
}
