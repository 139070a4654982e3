/** Completion, by the shells themselves: what they offer after the words of a command line. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { cacheModes } from 'virtio-fs-ts/protocol'
import { runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

const home = tempDir(t)
mkdirSync(join(home, 'folder'))
writeFileSync(join(home, 'file'), '')

/** The words that a shell offers to replace the last one with. */
type Shell = (words: readonly string[]) => readonly string[]

function script(shell: string): string {
  const path = join(home, `completion.${shell}`)
  writeFileSync(path, `${runProgram(['completion', shell]).stdout}\n`)
  return path
}

function run(command: string, args: readonly string[]): readonly string[] {
  const text = execFileSync(command, args, { cwd: home, encoding: 'utf8' })
  return text.split('\n').filter((line) => line !== '')
}

function missing(command: string): { skip?: string } {
  const found = spawnSync(command, ['--version']).status === 0
  return found ? {} : { skip: `no ${command} here` }
}

/** As readline hands words to the function: a value after = is a word of its own. */
function bash(): Shell {
  const path = script('bash')
  const code = `source "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_virtiofsd_ts; printf '%s\\n' "\${COMPREPLY[@]}"`
  return (words) => run('bash', ['-c', code, path, 'virtiofsd-ts', ...words.flatMap(splitAtEquals)])
}

function splitAtEquals(word: string): string[] {
  const [, name, value] = /^(--[^=]+)=(.*)$/.exec(word) ?? []
  if (name === undefined) return [word]
  return value === '' ? [name, '='] : [name, '=', value as string]
}

function fish(): Shell {
  const path = script('fish')
  return (words) => {
    const line = ['virtiofsd-ts', ...words].join(' ')
    const offers = run('fish', ['--no-config', '-c', `source ${path}; complete -C '${line}'`])
    return offers.map((offer) => (offer.split('\t')[0] as string).replace(/^--[^=]+=/, ''))
  }
}

function checkOffers(t: Test, offers: Shell): void {
  t.same([...offers(['--cache', ''])].sort(), [...cacheModes].sort())
  t.same(offers(['--cache', 'ne']), ['never'])
  t.same(offers(['--cache=ne']), ['never'])
  t.same(offers(['--shared-dir', 'f']).map(withoutSlash), ['folder'], 'a directory')
  t.same(offers(['--config', 'f']).map(withoutSlash).sort(), ['file', 'folder'])
  t.same(offers(['--no-readdirp']), ['--no-readdirplus'])
  t.same(offers(['chec']), ['check-config'])
  t.same(offers(['ctl', 'fault-a']), ['fault-add'])
  t.same(offers(['ctl', 'repl']), ['replace'], 'a command that changes the process')
  t.same([...offers(['completion', ''])].sort(), ['bash', 'fish', 'zsh'])
  t.ok(offers(['--cache', 'never', '--write']).includes('--writeback'))
}

const withoutSlash = (name: string) => name.replace(/\/$/, '')

t.test('bash completes options, values and commands', missing('bash'), async (t) => checkOffers(t, bash()))
t.test('fish completes options, values and commands', missing('fish'), async (t) => checkOffers(t, fish()))

/** zsh completes in its line editor only: this types the words and a tab, and shows what the command then got. */
const ZSH = `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "fpath+=($1); autoload -U compinit; compinit -u -D; PS1="
shift
zpty -w shell 'virtiofsd-ts() { print "GOT<$*>" }; bindkey "^I" complete-word'
for words in "$@"; do
  zpty -w -n shell "virtiofsd-ts $words"$'\\t\\n'
  zpty -r shell line '*GOT<[^$]*>*'
  print -r -- "\${\${line##*GOT<}%%>*}"
done
`

t.test('zsh completes options, values and commands', missing('zsh'), async (t) => {
  const functions = tempDir(t)
  writeFileSync(join(functions, '_virtiofsd-ts'), `${runProgram(['completion', 'zsh']).stdout}\n`)
  const typed = [
    '--cache ne',
    '--cache=ne',
    '--shared-dir f',
    '--no-readdirp',
    'chec',
    'ctl fault-a',
    '--syslo',
  ]
  t.same(
    run('zsh', ['-f', '-c', ZSH, 'zsh', functions, ...typed]).map((line) => line.trim()),
    [
      '--cache never',
      '--cache=never',
      '--shared-dir folder',
      '--no-readdirplus',
      'check-config',
      'ctl fault-add',
      '--syslog',
    ],
  )
})

t.test('another shell is refused', async (t) => {
  t.match(runProgram(['completion', 'bsh']), {
    status: 2,
    stderr: "virtiofsd-ts: completion: no script for 'bsh' (did you mean bash?): there are bash, zsh, fish",
  })
})
