import { parseCompatibleWords } from './compatible-words.js'
import { readValue } from './option-reader.js'
import { dashed } from './option-spec.js'
import { optionsByName, type TableOption } from './option-table.js'
import { OptionValues } from './option-values.js'
import type { ShareDraft } from './share-draft.js'
import { parseShareWords } from './share-words.js'

/** What one command line gives, in its order: a later option replaces an earlier one, lists grow. */
export class GivenOptions {
  readonly values = new OptionValues()
  readonly shares: ShareDraft[] = []

  /** `typed`: the option as it was typed, for messages. Throws UserError. */
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

/** The one text that an option was given, which is not empty. Throws UserError. */
function text(spec: TableOption, raw: string | boolean, typed: string): string {
  return String(readValue(spec, raw, typed))
}
