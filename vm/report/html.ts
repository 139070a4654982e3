import { visibleJson, visibleLines } from 'virtio-fs-ts/protocol'

/** Text that is HTML already. Made by `html` alone, so that whatever else goes into a page is escaped. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = Html | string | number | undefined | readonly Part[]

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** A template of HTML: escapes strings and numbers, joins lists, drops undefined. */
export function html(literals: TemplateStringsArray, ...parts: Part[]): Html {
  return new Html(String.raw({ raw: literals }, ...parts.map(toText)))
}

/** Returns JSON for a script element; no string inside it can end the element. */
export function jsonForScript(value: unknown): Html {
  return new Html(visibleJson(JSON.stringify(value)).replaceAll('<', '\\u003c'))
}

function toText(part: Part): string {
  if (part === undefined) return ''
  if (part instanceof Html) return part.text
  if (Array.isArray(part)) return part.map(toText).join('')
  return visibleLines(String(part)).replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!)
}
