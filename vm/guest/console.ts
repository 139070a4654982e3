import type { Socket } from 'node:net'

const KEPT_CHARACTERS = 256 * 1024
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's control sequences are what is looked for
const CONTROL_SEQUENCE = /\x1b(\[[0-9;?=]*[A-Za-z]|c)/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: likewise
const CONTROL_CHARACTER = /[\x00-\x08\x0b-\x1f]/g

/** The guest's output on its first serial port: kernel messages, and a shell if one runs there. */
export class Console {
  private text = ''

  constructor(readonly socket: Socket) {
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => {
      this.text = (this.text + chunk).slice(-KEPT_CHARACTERS)
    })
  }

  /** The last lines, without the control sequences of firmware and shells. */
  lastLines(count: number): string[] {
    const lines = this.text.split(/\r?\n/).map(stripControls)
    return lines.filter((line) => line.trim() !== '').slice(-count)
  }
}

function stripControls(line: string): string {
  return line.replaceAll(CONTROL_SEQUENCE, '').replaceAll(CONTROL_CHARACTER, '')
}
