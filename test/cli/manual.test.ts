/** The manual page, the README and docs/options.md agree with the option table. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { commandTable } from '../../src/config/command-table.js'
import { optionsByName, optionTable } from '../../src/config/option-table.js'
import { typedForms } from '../../src/config/option-text.js'
import { manualPage } from '../../src/reference/manual-page.js'
import { tempDir } from '../support/host/temp-dir.js'

const read = (page: string) => readFileSync(new URL(`../../../${page}`, import.meta.url), 'utf8')
const options = read('docs/options.md')
const pages = `${read('README.md')}\n${options}`
const noMan = spawnSync('man', ['--version']).status !== 0 && 'no man here'

t.test('man renders the page without a warning, with every option', { skip: noMan }, async (t) => {
  const page = join(tempDir(t), 'virtiofsd-ts.1')
  writeFileSync(page, manualPage('1.2.3'))
  const { PATH } = process.env
  const env = { PATH, LC_ALL: 'C.UTF-8', MANWIDTH: '100' }
  const {
    status,
    stdout: text,
    stderr,
  } = spawnSync('man', ['--warnings', '-l', page], { encoding: 'utf8', env })
  t.equal(status, 0)
  t.equal(stderr, '')
  t.match(text, 'virtiofsd-ts 1.2.3')
  for (const { name, negated, argument } of optionTable) {
    const shown = name.length === 1 ? `-${name}` : negated ? `--no-${name}` : `--${name}`
    t.match(text, new RegExp(`^ +(-.*, )?${shown}([ ,]|\\[=|$)`, 'm'), shown)
    if (argument !== undefined)
      t.match(text, new RegExp(`${shown}( |\\[=)${argument}`), `${shown}: its value`)
  }
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2'])
    t.match(text, new RegExp(`^ +(SIG.*, )?${signal}\\b`, 'm'), signal)
  for (const file of ['SOCKET', 'SOCKET.pid', 'CONTROL', 'CONTROL.live'])
    t.match(text, new RegExp(`^ +${file.replace('.', '\\.')}( |$)`, 'm'), file)
  for (const { name } of commandTable) t.match(text, new RegExp(`^ +${name} *$|^ +${name} +[A-Z]`, 'm'), name)
})

t.test('the pages name no option that is not there', async (t) => {
  const forms = new Set(optionTable.flatMap(typedForms))
  // Options of commands, of tools of this repository, and of other programs.
  const others = new Set(['--version', '--help', '--share'])
  const ours = pages
    .split('\n')
    .filter((line) => !/ctl|"\$\{ctl|trace |^mount|vm\/|run\.js/.test(line))
    .flatMap((line) => line.match(/(?<![\w-])--[a-z][a-z-]+/g) ?? [])
  t.ok(ours.length > 20)
  for (const option of ours) t.ok(forms.has(option) || others.has(option), option)
})

t.test('the table of options in docs/options.md is that of the program', async (t) => {
  const rows = [...options.matchAll(/^\| `--([a-z-]+) ?([^`]*)` \| (.*) \|$/gm)]
  t.ok(rows.length >= 8)
  for (const [, name, value, text] of rows) {
    const spec = optionsByName.get(name as string)
    if (spec === undefined) {
      t.fail(`--${name} is no option`)
      continue
    }
    const { kind } = spec
    if (kind.type === 'choice') t.same(value?.split('\\|'), kind.choices, `--${name}: its values`)
    else t.equal(value === '', kind.type === 'flag', `--${name}: takes a value or none`)
    const said = /default `?([\w-]+)`?/.exec(text as string)?.[1]
    if (said !== undefined) t.equal(said, spec.default, `--${name}: its default`)
  }
})
