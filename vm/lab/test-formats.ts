/** Results in formats of other tools: KTAP for kernel developers, JUnit for continuous integration. */
import { escapeXml } from '../report/xml.js'
import { type Cell, type KernelResult, type LabResult, verdictOf } from './result.js'

/** A result as KTAP. With several kernels, each is a test with subtests. */
export function ktapText({ kernels }: LabResult): string {
  const texts = kernels.map(
    ({ cells }) => ktapHead(cells.length) + cells.map((cell, n) => ktapLine(n + 1, cell)).join(''),
  )
  if (texts.length === 1) return texts[0]!
  const subtests = kernels.map((kernel, n) => {
    const name = `Linux ${kernel.release}`
    const [version, ...lines] = texts[n]!.trimEnd().split('\n')
    const inner = [version, `# Subtest: ${name}`, ...lines].map((line) => `    ${line}\n`).join('')
    return `${inner}${verdictOf({ startedAt: '', kernels: [kernel] }) === 'unexpected' ? 'not ok' : 'ok'} ${n + 1} ${name}\n`
  })
  return ktapHead(kernels.length) + subtests.join('')
}

/** The first lines of a KTAP output. */
export function ktapHead(tests: number): string {
  return `KTAP version 1\n1..${tests}\n`
}

/** One cell, with details after #. Its name is stable: the case and the share. */
export function ktapLine(number: number, cell: Cell): string {
  const name = `${number} ${cell.case}@${cell.share}`
  if (cell.verdict === 'not applicable') return `ok ${name} # SKIP ${reasonOf(cell)}\n`
  if (cell.verdict === 'as expected') return `ok ${name}\n`
  const diagnosis = [`expected: ${cell.expected}`, `observed: ${cell.observed}`, ...cell.trouble]
  const lines = diagnosis.flatMap((text) => text.split('\n')).map((line) => `# ${line}\n`)
  return `${lines.join('')}not ok ${name}\n`
}

function reasonOf({ needs }: Cell): string {
  return needs === undefined ? 'does not apply' : `needs ${needs}`
}

/** One suite per kernel. */
export function junitXml({ kernels }: LabResult): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${kernels.map(suite).join('')}</testsuites>\n`
}

function suite({ release, ms, cells }: KernelResult): string {
  const count = (verdict: Cell['verdict']): number => cells.filter((cell) => cell.verdict === verdict).length
  const about = `name="Linux ${escapeXml(release)}" tests="${cells.length}" failures="${count('unexpected')}" skipped="${count('not applicable')}" time="${seconds(ms)}"`
  return `<testsuite ${about}>\n${cells.map(testCase).join('')}</testsuite>\n`
}

function testCase(cell: Cell): string {
  const head = `<testcase classname="${escapeXml(cell.case)}" name="${escapeXml(cell.share)}" time="${seconds(cell.ms)}"`
  if (cell.verdict === 'as expected') return `${head}/>\n`
  if (cell.verdict === 'not applicable') return `${head}><skipped message="${reasonOf(cell)}"/></testcase>\n`
  const message = `expected ${cell.expected}, observed ${cell.observed}`
  const text = [cell.evidence, ...cell.trouble, ...(cell.trace ?? [])].join('\n')
  return `${head}><failure message="${escapeXml(message)}">${escapeXml(text)}</failure></testcase>\n`
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3)
}
