import type { CommandSpec } from '../config/command-table.js'
import type { CommandWords } from './bash-completion.js'
import { type CompletedOption, completedOptions, needsValue, type Offer } from './completed-options.js'

const offers: Record<Exclude<Offer['type'], 'words'>, string> = {
  directories: '_files -/',
  files: '_files',
  groups: '_groups',
  nothing: ' ',
}

/** The completion script for zsh: goes to a file `_virtiofsd-ts` in a folder of $fpath. */
export function zshCompletion(commands: readonly CommandSpec[], words: CommandWords): string {
  const described = commands.map(({ name, text }) => quoted(`${name}:${text}`))
  return `#compdef virtiofsd-ts
# zsh completion for virtiofsd-ts, made by "virtiofsd-ts completion zsh"
_virtiofsd-ts() {
    local -a commands=(
${described.map((one) => `        ${one}`).join('\n')}
    )
    if (( CURRENT > 2 )); then
        case $words[2] in
${Object.entries(words).map(commandCase).join('\n')}
            [^-]*) _files; return ;;
        esac
    fi
    (( CURRENT == 2 )) && [[ $PREFIX != -* ]] && _describe command commands
    _arguments -s -S \\
${completedOptions
  .flatMap(argumentsOf)
  .map((one) => `        ${one}`)
  .join(' \\\n')}
}
_virtiofsd-ts "$@"
`
}

/** Returns an _arguments specification for each form. Each may be repeated, since the last one wins. */
function argumentsOf(option: CompletedOption): string[] {
  const text = option.spec.text.replaceAll(/[[\]\\]/g, '\\$&')
  return option.forms.map((form) => {
    if (option.offer === undefined) return quoted(`*${form}[${text}]`)
    const long = form.startsWith('--')
    const joint = long ? (needsValue(option) ? '=' : '=-') : '+'
    const optional = needsValue(option) ? ':' : '::'
    return quoted(`*${form}${joint}[${text}]${optional}${option.spec.argument}:${actionOf(option.offer)}`)
  })
}

function actionOf(offer: Offer): string {
  return offer.type === 'words' ? `(${offer.words.join(' ')})` : offers[offer.type]
}

function commandCase([name, words]: [string, readonly string[]]): string {
  return `            ${name}) compadd -- ${words.join(' ')}; return ;;`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
