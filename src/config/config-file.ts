import { readFileSync } from 'node:fs'
import { type AST, getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser'
import { codeOf, messageOf } from '../basics/errors.js'
import { nearestName } from '../basics/nearest-name.js'
import { compileGlob, type OpenRule } from '../io-mode/open-rules.js'
import { cacheChoices } from './cache-options.js'
import { allowedIn, type OptionSpec, type OptionValue } from './option-spec.js'
import { type OptionName, optionsByName } from './option-table.js'
import { OptionValues } from './option-values.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

/** The contents of a configuration file. */
export interface ConfigFile {
  /** Options of the process, and options that apply to every share. */
  readonly values: OptionValues
  /** Returns where an option of the process, or of every share, was given: "shares.toml:2: log-level". */
  where(option: OptionName): string
  readonly shares: readonly ShareDraft[]
}

/** One `key = value` of the file, and its line. */
interface Entry {
  readonly key: string
  readonly value: unknown
  readonly line: number
}

/** One table of the file: "" for the part before the first table, "[[share]]", or "[[share.rule]]". */
interface Table {
  /** The name as written, with its brackets. */
  readonly name: string
  readonly line: number
  readonly entries: readonly Entry[]
}

/**
 * Reads a TOML file with `[[share]]` and, below each, `[[share.rule]]`. The keys are the options' names. Throws
 * UserError with file name and line.
 */
export function readConfigFile(path: string): ConfigFile {
  let source: string
  try {
    source = readFileSync(path, 'utf8')
  } catch (error) {
    throw new UserError(`--config ${path}: cannot be read (${codeOf(error)})`)
  }
  return parseConfig(source, path)
}

/** Parses the text of a file; messages call it `path`. */
export function parseConfig(source: string, path: string): ConfigFile {
  const values = new OptionValues()
  const shares: { draft: Table; rules: OpenRule[] }[] = []
  const tables = tablesOf(source, path)
  for (const table of tables) {
    if (table.name === '') {
      for (const entry of table.entries) readEntry(path, entry, values, 'file')
    } else if (table.name === '[[share]]') {
      shares.push({ draft: table, rules: [] })
    } else if (table.name === '[[share.rule]]') {
      if (shares.length === 0) throw new UserError(`${path}:${table.line}: a rule stands below its [[share]]`)
      shares.at(-1)?.rules.push(readRule(path, table))
    } else {
      throw new UserError(
        `${path}:${table.line}: unknown table ${table.name}: there are [[share]] and [[share.rule]]`,
      )
    }
  }
  const [top] = tables
  return {
    values,
    where: placesIn(path, 1, top?.entries ?? []),
    shares: shares.map(({ draft, rules }) => readShare(path, draft, rules)),
  }
}

/** Returns a function that tells where a table gives an option; an option that it lacks is missing at the table's line. */
function placesIn(path: string, tableLine: number, entries: readonly Entry[]): ShareDraft['where'] {
  const places = new Map<OptionName, string>()
  for (const { key, line } of entries) {
    const spec = optionsByName.get(key)
    if (spec !== undefined) places.set(spec.name, `${path}:${line}: ${key}`)
  }
  return (option) => places.get(option) ?? `${path}:${tableLine}: ${option}`
}

function tablesOf(source: string, path: string): Table[] {
  try {
    const [top] = parseTOML(source).body
    const loose = top.body.filter((node): node is AST.TOMLKeyValue => node.type === 'TOMLKeyValue')
    const tables = top.body.filter((node): node is AST.TOMLTable => node.type === 'TOMLTable')
    return [
      { name: '', line: 1, entries: entriesOf(loose) },
      ...tables.map((table) => ({
        name: tableName(table),
        line: table.loc.start.line,
        entries: entriesOf(table.body),
      })),
    ]
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    throw new UserError(`${path}:${error.lineNumber}: ${error.message}`)
  }
}

function tableName({ kind, resolvedKey }: AST.TOMLTable): string {
  const name = resolvedKey.filter((part) => typeof part === 'string').join('.')
  return kind === 'array' ? `[[${name}]]` : `[${name}]`
}

function entriesOf(nodes: readonly AST.TOMLKeyValue[]): Entry[] {
  return nodes.map((node) => ({
    key: node.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value)).join('.'),
    value: getStaticTOMLValue(node.value),
    line: node.loc.start.line,
  }))
}

/** Options for every share may also stand before the first table. */
type Place = 'file' | 'share' | 'rule'

function mayStand(spec: OptionSpec, place: Place): boolean {
  return place === 'file' ? spec.scope !== 'command line' : allowedIn(spec, place)
}

function readEntry(path: string, { key, value, line }: Entry, values: OptionValues, place: Place): void {
  const where = `${path}:${line}`
  const spec = optionsByName.get(key)
  if (spec === undefined || spec.scope === 'command line') {
    const names = [...optionsByName].filter(([, other]) => mayStand(other, place)).map(([name]) => name)
    throw new UserError(`${where}: unknown key '${key}'${nearestName(key, names)}`)
  }
  if (!mayStand(spec, place)) {
    const home = spec.scope === 'process' ? 'the whole process: before the first table' : 'a whole [[share]]'
    throw new UserError(`${where}: '${key}' is for ${home}`)
  }
  if (!isOptionValue(value))
    throw new UserError(`${where}: ${key} is neither text, a number, true or false, nor a list of texts`)
  values.read(spec, value, `${where}: ${key}`)
}

function isOptionValue(value: unknown): value is OptionValue {
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string')
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

function readShare(path: string, table: Table, rules: readonly OpenRule[]): ShareDraft {
  const values = new OptionValues()
  for (const entry of table.entries) readEntry(path, entry, values, 'share')
  return { values, where: placesIn(path, table.line, table.entries), rules }
}

/** The keys of a rule that choose files; all other keys are options. */
const conditions = new Set(['match', 'read-only', 'o-direct'])

function readRule(path: string, table: Table): OpenRule {
  const values = new OptionValues()
  const given = new Map<string, Entry>()
  for (const entry of table.entries) {
    if (conditions.has(entry.key)) given.set(entry.key, entry)
    else readEntry(path, entry, values, 'rule')
  }
  return {
    match: readGlob(path, table, given.get('match')),
    readOnly: readCondition(path, given.get('read-only')),
    oDirect: readCondition(path, given.get('o-direct')),
    source: `${path}:${table.line}`,
    choices: cacheChoices(values),
  }
}

function readGlob(path: string, table: Table, entry: Entry | undefined): string {
  if (entry === undefined) throw new UserError(`${path}:${table.line}: a rule needs match = "GLOB"`)
  const { value, line } = entry
  if (typeof value !== 'string') throw new UserError(`${path}:${line}: match is a glob in quotes`)
  try {
    compileGlob(value)
  } catch (error) {
    throw new UserError(`${path}:${line}: bad glob '${value}': ${messageOf(error)}`)
  }
  return value
}

function readCondition(path: string, entry: Entry | undefined): boolean | undefined {
  if (entry === undefined) return undefined
  if (typeof entry.value === 'boolean') return entry.value
  throw new UserError(`${path}:${entry.line}: ${entry.key} is true or false`)
}
