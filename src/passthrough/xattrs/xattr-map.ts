/**
 * Translates extended attribute names between guest and host, in the notation of virtiofsd's `--xattrmap`: a series of
 * rules `:type:scope:key:prepend:` or `:map:key:prepend:`. A rule's first character is its separator. The first rule that
 * matches decides.
 */

const types = ['prefix', 'ok', 'bad', 'unsupported'] as const
export type XattrRuleType = (typeof types)[number]

/** One rule. It matches guest names that begin with `key` and host names that begin with `prepend`. */
export interface XattrRule {
  readonly type: XattrRuleType
  /** Applies to names from the guest, names from the host, or both. */
  readonly guest: boolean
  readonly host: boolean
  readonly key: string
  readonly prepend: string
}

/** The fault in a map, in one line. */
export class XattrMapError extends Error {
  override readonly name = 'XattrMapError'
}

const scopes = new Map([
  ['all', { guest: true, host: true }],
  ['client', { guest: true, host: false }],
  ['server', { guest: false, host: true }],
])

/** Parses a map. Throws XattrMapError with the number of the wrong rule. */
export function parseXattrMap(text: string): readonly XattrRule[] {
  const rules: XattrRule[] = []
  let rest = text.trim()
  let count = 0
  while (rest !== '') {
    count++
    const { fields, end } = splitRule(rest, count)
    rules.push(...ruleOf(fields, count))
    rest = rest.slice(end).trimStart()
    if (fields[0] === 'map' && rest !== '')
      throw new XattrMapError(`rule ${count}: map has to be the last rule`)
  }
  if (count === 0) throw new XattrMapError('no rules')
  return rules
}

/** Returns the fields of the first rule in `text`, and its end. */
function splitRule(text: string, number: number): { fields: string[]; end: number } {
  const [separator] = text
  const fields: string[] = []
  let at = separator.length
  for (let wanted = 1; fields.length < wanted; ) {
    const next = text.indexOf(separator, at)
    if (next < 0) throw new XattrMapError(`rule ${number} does not end with its separator '${separator}'`)
    fields.push(text.slice(at, next))
    at = next + separator.length
    if (fields.length === 1) wanted = fields[0] === 'map' ? 3 : 4
  }
  return { fields, end: at }
}

function ruleOf(fields: readonly string[], number: number): XattrRule[] {
  const [name] = fields
  if (name === 'map') return mapRules(fields[1], fields[2])
  const type = types.find((known) => known === name)
  if (type === undefined)
    throw new XattrMapError(`rule ${number}: type '${name}' is not one of ${types.join(', ')}, map`)
  const scope = scopes.get(fields[1])
  if (scope === undefined) {
    throw new XattrMapError(
      `rule ${number}: scope '${fields[1]}' is not one of ${[...scopes.keys()].join(', ')}`,
    )
  }
  return [{ type, ...scope, key: fields[2], prepend: fields[3] }]
}

/**
 * `:map:key:prepend:`: the host stores names that begin with `key` under `prepend` plus the name. With an empty key these
 * are all names. Otherwise the guest neither sees such unmapped host names nor reaches the host's `prepend`, and all other
 * names pass.
 */
function mapRules(key: string, prepend: string): XattrRule[] {
  const prefix: XattrRule = { type: 'prefix', guest: true, host: true, key, prepend }
  if (key === '') return [prefix, { type: 'bad', guest: true, host: true, key: '', prepend: '' }]
  return [
    prefix,
    { type: 'bad', guest: false, host: true, key: '', prepend: key },
    { type: 'bad', guest: true, host: false, key: prepend, prepend: '' },
    { type: 'ok', guest: true, host: true, key: '', prepend: '' },
  ]
}

/** The outcome for a name that the guest used. */
export type GuestNameOutcome =
  | { readonly pass: true; readonly name: string }
  | { readonly pass: false; readonly type: 'bad' | 'unsupported' }

const denied: GuestNameOutcome = { pass: false, type: 'bad' }

/** Returns the host's name for a guest's name, or a refusal. A name that no rule matches is refused. */
export function hostXattrName(rules: readonly XattrRule[], name: string): GuestNameOutcome {
  const rule = rules.find(({ guest, key }) => guest && name.startsWith(key))
  switch (rule?.type) {
    case 'prefix':
      return { pass: true, name: rule.prepend + name }
    case 'ok':
      return { pass: true, name }
    case 'unsupported':
      return { pass: false, type: 'unsupported' }
    default:
      return denied
  }
}

/** Returns the guest's name for a host's name, or undefined if it is hidden. A name that no rule matches is hidden. */
export function guestXattrName(rules: readonly XattrRule[], name: string): string | undefined {
  const rule = rules.find(({ host, prepend }) => host && name.startsWith(prepend))
  if (rule?.type === 'prefix') return name.slice(rule.prepend.length)
  return rule?.type === 'ok' ? name : undefined
}
