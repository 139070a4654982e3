import { type DelaySpec, type FaultSpec, refuse } from './fault-spec.js'

/**
 * Reads the words of `--fault`: `opcode=WRITE+READ,path=GLOB,hold=2,timeout-ms=300`, `delay-ms=5`, `delay-ms=1..9`,
 * `delay-ms=exp:5`, `delay-ms=normal:5:2`, `errno=EIO`, `short-bytes=512`, `violation=unique`, `probability=0.1`,
 * `limit=3`. A comma inside a value is doubled. Returns what `checkFaultSpec` takes. Throws FaultSpecError.
 */
export function parseFaultWords(text: string): Record<string, unknown> {
  const spec: Record<string, unknown> = {}
  const hold: { until?: number; timeoutMs?: number } = {}
  for (const word of text.split(/(?<!,),(?!,)/).filter((part) => part !== '')) {
    const [key, value] = splitAtEquals(word.replaceAll(',,', ','))
    switch (key) {
      case 'opcode':
      case 'opcodes':
        spec['opcodes'] = value.split('+')
        break
      case 'path':
      case 'errno':
      case 'violation':
        spec[key] = value
        break
      case 'probability':
      case 'limit':
        spec[key] = readNumber(word, value)
        break
      case 'short-bytes':
        spec['shortBytes'] = readNumber(word, value)
        break
      case 'hold':
        hold.until = readNumber(word, value)
        break
      case 'timeout-ms':
        hold.timeoutMs = readNumber(word, value)
        break
      case 'delay-ms':
        spec['delay'] = parseDelay(word, value)
        break
      default:
        refuse(`unknown word '${key}' of a fault: there are ${allWords.join(', ')}`)
    }
  }
  if (Object.keys(hold).length > 0) spec['hold'] = { timeoutMs: DEFAULT_TIMEOUT_MS, ...hold }
  return spec
}

const DEFAULT_TIMEOUT_MS = 1000

const allWords = [
  ...['opcode', 'path', 'probability', 'limit'],
  ...['hold', 'timeout-ms', 'delay-ms', 'errno', 'short-bytes', 'violation'],
] as const

/** Formats a specification in the notation that `parseFaultWords` reads. */
export function faultWords(spec: FaultSpec): string {
  const { opcodes, path, hold, delay, errno, shortBytes, violation, probability, limit } = spec
  const words: readonly (readonly [string, string | number | undefined])[] = [
    ['opcode', opcodes?.join('+')],
    ['path', path],
    ['probability', probability],
    ['limit', limit],
    ['hold', hold?.until],
    ['timeout-ms', hold?.timeoutMs],
    ['delay-ms', delay && delayWord(delay)],
    ['errno', errno],
    ['short-bytes', shortBytes],
    ['violation', violation],
  ]
  return words
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${`${value}`.replaceAll(',', ',,')}`)
    .join(',')
}

function splitAtEquals(word: string): readonly [string, string] {
  const equals = word.indexOf('=')
  if (equals < 0) return refuse(`expected key=value, got '${word}'`)
  return [word.slice(0, equals), word.slice(equals + 1)]
}

function readNumber(word: string, text: string): number {
  const number = Number(text)
  return text === '' || Number.isNaN(number) ? refuse(`${word}: '${text}' is not a number`) : number
}

function parseDelay(word: string, text: string): DelaySpec {
  const [range, from = '', to = ''] = /^([\d.]+)\.\.([\d.]+)$/.exec(text) ?? []
  if (range !== undefined) return { uniformMs: [readNumber(word, from), readNumber(word, to)] }
  const [, how, mean = '', deviation = '0'] = /^(exp|normal):([\d.]+)(?::([\d.]+))?$/.exec(text) ?? []
  if (how === 'exp') return { exponentialMs: readNumber(word, mean) }
  if (how === 'normal') return { normalMs: [readNumber(word, mean), readNumber(word, deviation)] }
  return { fixedMs: readNumber(word, text) }
}

function delayWord(delay: DelaySpec): string {
  if ('fixedMs' in delay) return `${delay.fixedMs}`
  if ('uniformMs' in delay) return delay.uniformMs.join('..')
  if ('exponentialMs' in delay) return `exp:${delay.exponentialMs}`
  return `normal:${delay.normalMs.join(':')}`
}
