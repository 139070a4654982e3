import { nearestName } from '../basics/nearest-name.js'
import { splitAtCommas } from './compatible-words.js'
import { allowedIn } from './option-spec.js'
import { optionsByName, optionTable } from './option-table.js'
import { OptionValues } from './option-values.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

/**
 * Reads the argument of `--share`: one share's options without dashes, separated by commas: `key=value`, `flag`,
 * `no-flag`. A comma inside a value is doubled. Throws UserError.
 */
export function parseShareWords(text: string): ShareDraft {
  const values = new OptionValues()
  for (const word of splitAtCommas(text)) {
    const { name, raw } = splitWord(word)
    const spec = optionsByName.get(name)
    if (spec?.scope === 'process') throw new UserError(`--share: '${name}' is for the whole process`)
    if (spec === undefined || !allowedIn(spec, 'share')) {
      throw new UserError(`--share: unknown option '${name}'${nearestName(name, shareNames())}`)
    }
    values.read(spec, raw, `--share: ${name}`)
  }
  return { values, where: (option) => `--share: ${shortName(option)}`, rules: [] }
}

function splitWord(word: string): { name: string; raw: string | boolean } {
  const equals = word.indexOf('=')
  if (equals >= 0) return { name: word.slice(0, equals), raw: word.slice(equals + 1) }
  const positive = word.replace(/^no-/, '')
  if (positive !== word && optionsByName.has(positive)) return { name: positive, raw: false }
  return { name: word, raw: true }
}

function shareNames(): string[] {
  return [...optionsByName].filter(([, spec]) => allowedIn(spec, 'share')).map(([name]) => name)
}

/** Returns the short spelling inside a share: `path` rather than `shared-dir`. */
function shortName(option: string): string {
  return optionTable.find(({ name }) => name === option)?.aliases?.[0] ?? option
}
