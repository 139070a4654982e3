import { parseCompatibleWords } from './compatible-words.js'
import { readValue } from './option-reader.js'
import { dashed } from './option-spec.js'
import { optionsByName, type TableOption } from './option-table.js'
import { OptionValues } from './option-values.js'
import type { ShareDraft } from './share-draft.js'
import { parseShareWords } from './share-words.js'

/** The options of one command line, in order: a later option replaces an earlier one, and lists grow. */
export class GivenOptions {
  readonly values = new OptionValues()
  readonly shares: ShareDraft[] = []

  /** Adds an option. `typed`: its spelling on the command line, for messages. Throws UserError. */
  set(name: string, raw: string | boolean, typed: string): void {
    const spec = optionsByName.get(name)
    if (spec === undefined) throw new Error(`no such option: ${name}`)
    switch (spec.name) {
      case 'share':
        this.shares.push(parseShareWords(text(spec, raw, typed)))
        return
      case 'o':
        for (const word of parseCompatibleWords(text(spec, raw, typed)))
          this.set(word.name, word.raw, `-o ${word.name}`)
        return
    }
    if (spec.means !== undefined) this.set(...spec.means, dashed(name))
    this.values.read(spec, raw, typed)
  }
}

/** Returns the text of an option's value. Throws UserError if the text is missing or empty. */
function text(spec: TableOption, raw: string | boolean, typed: string): string {
  return String(readValue(spec, raw, typed))
}
