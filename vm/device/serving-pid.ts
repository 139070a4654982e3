import { readFileSync } from 'node:fs'

/**
 * Returns the id of the process that serves: in a sandbox the child of the started one that runs Node, else that one
 * itself. A child that is no Node is the broker of live changes.
 */
export function servingPidOf(startedPid: number): number {
  const children = readFileSync(`/proc/${startedPid}/task/${startedPid}/children`, 'utf8').trim().split(' ')
  const isNode = (pid: string) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(process.execPath)
  return Number(children.find((pid) => pid !== '' && isNode(pid)) ?? startedPid)
}
