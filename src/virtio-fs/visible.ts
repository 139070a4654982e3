/**
 * Characters that move the cursor, forge a line, reverse text or stay invisible: controls (C0, C1 and DEL), format
 * characters (bidi ones among them), line separators, and halves of characters.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu
/** Like the above, but allows the newline. */
const UNSEEN_IN_LINES = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu
/** Excludes characters that JSON.stringify has already escaped inside a text. */
const UNSEEN_IN_JSON = /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu

/** Makes text from a guest, such as a file name, fit for a terminal or a log: on one line, each character visible. */
export function visible(text: string): string {
  return text.replaceAll(UNSEEN, escaped)
}

/** Does the same for several lines. */
export function visibleLines(text: string): string {
  return text.replaceAll(UNSEEN_IN_LINES, escaped)
}

/** Makes JSON visible to people; it stays the same for a program. */
export function visibleJson(json: string): string {
  return json.replaceAll(UNSEEN_IN_JSON, escaped)
}

/** Escapes a character as JSON does: beyond U+FFFF it becomes two units. */
function escaped(character: string): string {
  return Array.from(
    { length: character.length },
    (_, n) => `\\u${character.charCodeAt(n).toString(16).padStart(4, '0')}`,
  ).join('')
}
