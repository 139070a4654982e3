import type { CommandSpec } from '../config/command-table.js'
import { type CompletedOption, completedOptions, needsValue, type Offer } from './completed-options.js'

/** For each command, the words offered for its first argument. */
export type CommandWords = Readonly<Record<string, readonly string[]>>

const offers: Record<Exclude<Offer['type'], 'words'>, string> = {
  directories: 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur"))',
  files: 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))',
  groups: 'COMPREPLY=($(compgen -g -- "$cur"))',
  nothing: ':',
}

/** The completion script for bash: `source <(virtiofsd-ts completion bash)`. */
export function bashCompletion(commands: readonly CommandSpec[], words: CommandWords): string {
  const forms = completedOptions.flatMap((option) => option.forms)
  const names = commands.map(({ name }) => name)
  return `# bash completion for virtiofsd-ts, made by "virtiofsd-ts completion bash"
_virtiofsd_ts() {
    local cur=\${COMP_WORDS[COMP_CWORD]} option=\${COMP_WORDS[COMP_CWORD-1]} joined=
    COMPREPLY=()
    # bash takes --option=value for three words.
    if [[ $cur == = ]]; then cur= joined=1
    elif [[ $option == = ]]; then option=\${COMP_WORDS[COMP_CWORD-2]} joined=1
    fi
    case $option in
${completedOptions.flatMap(caseOf).join('\n')}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '${forms.join(' ')}' -- "$cur"))
    elif (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W '${names.join(' ')}' -- "$cur"))
    else
        case \${COMP_WORDS[1]} in
${Object.entries(words).map(commandCase).join('\n')}
            *) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")) ;;
        esac
    fi
}
complete -F _virtiofsd_ts virtiofsd-ts
`
}

function caseOf(option: CompletedOption): string[] {
  if (option.offer === undefined) return []
  const action = actionOf(option.offer)
  const guarded = needsValue(option) ? `${action}; return` : `if [[ $joined ]]; then ${action}; return; fi`
  return [`        ${option.forms.join('|')}) ${guarded} ;;`]
}

function actionOf(offer: Offer): string {
  if (offer.type !== 'words') return offers[offer.type]
  return `COMPREPLY=($(compgen -W '${offer.words.join(' ')}' -- "$cur"))`
}

function commandCase([name, words]: [string, readonly string[]]): string {
  return `            ${name}) COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$cur")) ;;`
}
