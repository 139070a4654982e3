import type { Guest } from './guest.js'
import { parseKernelLog } from './kernel-log.js'

const LOOK_TIMEOUT_MS = 10_000

/** Lists io-actor's threads and all uninterruptible sleepers: names and, with CONFIG_STACKTRACE, stacks. */
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

/** SysRq-w: the kernel prints the blocked tasks. */
const ASK_KERNEL = 'dmesg -c >/dev/null; echo w >/proc/sysrq-trigger && dmesg -r -c'

/** Returns the positions of the tasks of a hung guest as text. Empty if the guest does not answer at all. */
export async function stacksOf(guest: Guest): Promise<string[]> {
  const seen = await guest.output(LOOK, { timeoutMs: LOOK_TIMEOUT_MS }).catch(() => '')
  const blocked = /^\[<0>\]/m.test(seen)
    ? ''
    : await guest.output(ASK_KERNEL, { timeoutMs: LOOK_TIMEOUT_MS }).catch(() => '')
  return [seen.trim(), ...parseKernelLog(blocked).map(({ text }) => text)].filter((text) => text !== '')
}
