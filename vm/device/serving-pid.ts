import { textOf } from '../host/text-of.js'

/**
 * Returns the id of the process that serves: the one that runs Node among the children of the started one and their
 * children, else the started one itself. The others are the launcher: keeper, broker and supervisor.
 */
export function servingPidOf(startedPid: number): number {
  const children = childrenOf(startedPid)
  return [...children, ...children.flatMap(childrenOf)].find(isNode) ?? startedPid
}

function childrenOf(pid: number): readonly number[] {
  const text = textOf(`/proc/${pid}/task/${pid}/children`).trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

/** Helpers, which run Node for a moment, do not count. */
function isNode(pid: number): boolean {
  const words = textOf(`/proc/${pid}/cmdline`)
  return words.startsWith(process.execPath) && !words.includes('/helper.js')
}
