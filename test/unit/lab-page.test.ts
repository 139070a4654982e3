/** docs/lab.md: its commands are those of the Makefile, and its matrix has cases that exist. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { allCases } from '../../vm/lab/all-cases.js'

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
const page = read('docs/lab.md')
const makefile = read('Makefile')

/** The variables that a target passes on: those of its foreach, and those that it asks for. */
function variablesOf(target: string): string[] {
  const recipe = new RegExp(`^${target}: build .*\\n((?:\\t.*\\n)+)`, 'm').exec(makefile)?.[1] ?? ''
  const listed = [...recipe.matchAll(/\$\(foreach name,([^,]+),/g)].flatMap(([, names]) => names!.split(' '))
  const asked = [...recipe.matchAll(/\$\((?:if |call option,)?([A-Z_]+)\)/g)].map(([, name]) => name!)
  return [...listed, ...asked]
}

t.test('each command names a target of the Makefile, and variables that it passes on', async (t) => {
  const commands = [...page.matchAll(/make (?:-s )?((?:lab|run|xfstests|selftests)[a-z-]*)([^\n`&#|]*)/g)]
  t.ok(commands.length > 20)
  for (const [command, target, rest] of commands) {
    const variables = [...rest!.matchAll(/(?:^|[\s[])([A-Z_]+)=/g)].map(([, name]) => name!)
    if (target !== 'lab' && variables.length === 0) continue
    const known = variablesOf(target!)
    t.not(known.length, 0, `${target} is a target`)
    for (const name of variables) t.ok(known.includes(name), `${name} in: ${command.trim()}`)
  }
})

t.test('each case of the matrix is there, with the question that it asks today', async (t) => {
  const shown = [...page.matchAll(/^([a-z-]+\/[a-z_-]+): (.*)$/gm)]
  t.ok(shown.length > 20)
  for (const [, name, question] of shown)
    t.equal(allCases.find((one) => one.name === name)?.question, question, name)
})
