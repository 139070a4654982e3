import { parseCompatibleWords } from './compatible-words.js'
import { dashed } from './option-spec.js'
import { optionsByName } from './option-table.js'
import { type OptionValues, readValue } from './option-values.js'
import type { ShareDraft } from './share-builder.js'
import { parseShareWords } from './share-words.js'

/** What one command line gives, in its order: a later option replaces an earlier one, lists grow. */
export class GivenOptions {
  readonly values: OptionValues = new Map()
  readonly shares: ShareDraft[] = []

  /** `typed`: the option as it was typed, for messages. Throws UserError. */
  set(name: string, raw: string | boolean, typed: string): void {
    const spec = optionsByName.get(name)
    if (spec === undefined) throw new Error(`no such option: ${name}`)
    const value = readValue(spec, raw, typed)
    switch (spec.name) {
      case 'share':
        this.shares.push(parseShareWords(String(raw)))
        return
      case 'o':
        for (const word of parseCompatibleWords(String(raw))) this.set(word.name, word.raw, `-o ${word.name}`)
        return
    }
    if (spec.means !== undefined) this.set(...spec.means, dashed(name))
    const before = this.values.get(spec.name)
    const more = Array.isArray(value) && Array.isArray(before)
    this.values.set(spec.name, more ? [...before, ...value] : value)
  }
}
