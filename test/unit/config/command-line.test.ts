/** The same command line in all its spellings. */
import { join } from 'node:path'
import t from 'tap'
import { parseCommandLine } from '../../../src/config/command-line.js'
import { splitAtCommas } from '../../../src/config/compatible-words.js'
import type { Configuration } from '../../../src/config/configuration.js'
import { dashed } from '../../../src/config/option-spec.js'
import { optionTable } from '../../../src/config/option-table.js'
import { ChosenOptions, OptionValues } from '../../../src/config/option-values.js'
import { UserError } from '../../../src/config/user-error.js'
import { tempDir } from '../../support/host/temp-dir.js'

const directory = tempDir(t)
const socketPath = join(tempDir(t), 'socket')
const paths = ['--shared-dir', directory, '--socket-path', socketPath]

function read(...args: string[]): Configuration {
  return parseCommandLine([...paths, ...args])?.configuration as Configuration
}

t.test('a value follows or is joined by =', async (t) => {
  t.same(read('--cache=never'), read('--cache', 'never'))
  t.equal(read('--cache=never').shares[0].cache, 'never')
})

t.test('the later one wins, whatever its spelling', async (t) => {
  t.equal(read('--cache=never', '--cache', 'always').shares[0].cache, 'always')
  t.equal(read('-o', 'cache=always', '--cache', 'never').shares[0].cache, 'never')
  t.equal(read('--cache', 'never', '-o', 'cache=always').shares[0].cache, 'always')
  t.equal(read('--readonly', '--no-readonly').shares[0].readonly, false)
  t.equal(read('--no-readonly', '--readonly').shares[0].readonly, true)
  t.equal(read('--no-readdirplus', '--readdirplus').shares[0].readdirplus, true)
  t.equal(read('-d', '--log-level', 'warn').logLevel, 'warn')
  t.equal(read('--log-level', 'warn', '-d').logLevel, 'debug')
})

t.test('every flag can be switched on and off', async (t) => {
  const flags = optionTable.filter(({ kind, scope }) => kind.type === 'flag' && scope !== 'command line')
  for (const { name } of flags) t.same(read(`--${name}`, `--no-${name}`).shares, read(`--no-${name}`).shares)
})

t.test('choices are read in any case, as virtiofsd reads them', async (t) => {
  t.equal(read('--cache', 'NEVER', '--log-level', 'DEBUG').shares[0].cache, 'never')
})

for (const level of ['error', 'warn', 'info', 'debug', 'trace', 'off'] as const) {
  t.test(`--log-level ${level}`, async (t) => t.equal(read('--log-level', level).logLevel, level))
}

t.test('-o sets the options that it names', async (t) => {
  const old = parseCommandLine([
    ...['-o', `source=${directory},cache=none,no_readdirplus,allow_direct_io,timeout=7`],
    ...['--socket-path', socketPath, '-oallow_root,sandbox=chroot,log_level=err', '-f'],
  ])?.configuration as Configuration
  const today = read(
    ...['--cache=never', '--no-readdirplus', '--allow-direct-io', '--entry-timeout=7', '--attr-timeout=7'],
    ...['--sandbox=chroot', '--log-level=error', '-f'],
  )
  t.same(old, today)
  t.equal(read('-o', 'writeback', '-o', 'no_writeback').shares[0].writeback, false)
  t.equal(read('-o', 'debug').logLevel, 'debug')
})

t.test('a comma in a value of -o is doubled, also where it ends it', async (t) => {
  t.same(splitAtCommas('a=1,,2,b,c=,,'), ['a=1,2', 'b', 'c=,'])
  t.same(splitAtCommas('source=/with,,,xattr'), ['source=/with,', 'xattr'])
  t.same(splitAtCommas('a,b'), ['a', 'b'])
})

t.test('an option that has nothing to change is noted', async (t) => {
  t.match(read('-f').ignored, [{ option: '-f', reason: /foreground/ }])
  t.same(read().ignored, [])
  t.throws(() => read('--migration-mode', 'teleport'), UserError, 'a wrong value is an error all the same')
})

t.test('every option is in the table once', async (t) => {
  const names = optionTable.flatMap(({ name, aliases = [] }) => [name, ...aliases].map(dashed))
  t.equal(new Set(names).size, names.length)
  for (const { name, text, argument, kind } of optionTable) {
    t.notMatch(text, /\.$/, `${name}: no full stop`)
    t.equal(argument === undefined, kind.type === 'flag', `${name}: a value has a name`)
  }
})

t.test('names and types of values follow from the table', async (t) => {
  const options = new ChosenOptions(new OptionValues())
  const allowMmap: boolean = options.get('allow-mmap')
  const cache: 'never' | 'metadata' | 'auto' | 'always' = options.get('cache')
  const limit: number = options.get('inode-limit')
  const faults: readonly string[] = options.get('fault')
  const tag: string | undefined = options.get('tag')
  t.same([allowMmap, cache, limit, faults, tag], [false, 'auto', 100_000_000, [], undefined])
  // @ts-expect-error: there is no such option.
  t.equal(options.get('allow-mmpa'), undefined)
  // @ts-expect-error: it may be missing.
  const directory: string = options.get('shared-dir')
  // @ts-expect-error: it is a text.
  const level: number = options.get('log-level')
  t.same([directory, level], [undefined, 'info'])
})

t.test('an option that may be repeated may also be repeated in --share', async (t) => {
  const words = `path=${directory},socket=${join(tempDir(t), 'other')},translate-uid=guest:0:5:1,translate-uid=guest:7:8:1`
  const parsed = parseCommandLine(['--share', words])
  t.same(parsed?.configuration.shares[0].translateUid, ['guest:0:5:1', 'guest:7:8:1'])
})
