/** Writes a line of a log: pino's arguments, with the level first. */
export type WriteLine<Level> = (level: Level, fields: object, text: string) => void

const INTERVAL_MS = 1000

interface Kind<Level> {
  /** The last line left out; undefined: none was. */
  last: { level: Level; fields: object } | undefined
  leftOut: number
}

/**
 * Limits log lines that a guest or a front-end can cause at will: one per second for each kind, named by its text.
 * When the second is over, the last line left out follows, with the number of the others.
 */
export class LimitedLines<Level> {
  private readonly kinds = new Map<string, Kind<Level>>()

  constructor(private readonly write: WriteLine<Level>) {}

  line(level: Level, fields: object, text: string): void {
    const kind = this.kinds.get(text)
    if (kind === undefined) {
      this.write(level, fields, text)
      this.begin(text)
      return
    }
    // The replaced line may itself stand for others.
    if (kind.last !== undefined) kind.leftOut += 1 + leftOutOf(kind.last.fields)
    kind.last = { level, fields }
  }

  private begin(text: string): void {
    this.kinds.set(text, { last: undefined, leftOut: 0 })
    setTimeout(() => this.end(text), INTERVAL_MS).unref()
  }

  private end(text: string): void {
    const kind = this.kinds.get(text)
    this.kinds.delete(text)
    if (kind?.last === undefined) return
    const { level, fields } = kind.last
    const leftOut = kind.leftOut + leftOutOf(fields)
    this.write(level, leftOut > 0 ? { ...fields, leftOut } : fields, text)
    this.begin(text)
  }
}

function leftOutOf(fields: object): number {
  return 'leftOut' in fields && typeof fields.leftOut === 'number' ? fields.leftOut : 0
}
