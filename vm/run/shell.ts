import type { Guest } from '../guest/guest.js'
import { onProcessExit } from '../host/exit-hooks.js'

const TTY = '/dev/ttyS0'
/** Ctrl-], which telnet uses for the same purpose. */
const QUIT_KEY = '\x1d'

/**
 * Joins this terminal to a shell on the guest's console until the shell ends or the guest powers off.
 * Every key goes to the guest, Ctrl-C too; QUIT_KEY alone ends the guest from outside.
 */
export async function runShell(guest: Guest, dir: string): Promise<void> {
  const { stdin, stdout } = process
  const { socket } = guest.console
  let quit = false
  const type = (keys: Buffer): void => {
    quit = keys.includes(QUIT_KEY)
    if (quit) void guest.kill()
    else socket.write(keys)
  }
  const show = (text: string): void => void stdout.write(text)
  const resize = (): void => void guest.spawn(sizeCommand(stdout))

  const restore = (): void => void stdin.setRawMode(false)
  const unhook = onProcessExit(restore)
  stdin.setRawMode(true).on('data', type).resume()
  stdout.on('resize', resize)
  socket.on('data', show)
  try {
    const { TERM = 'linux' } = process.env
    const shell = `cd '${dir}'; export TERM='${TERM}' PS1='guest:\\w# '; setsid cttyhack sh <${TTY} >${TTY} 2>&1`
    // `true` keeps the outer shell there: setsid in its place would return before the inner one ends.
    const { result } = guest.spawn(`${sizeCommand(stdout)}; ${shell}; true`)
    await result.catch(async (error: unknown) => {
      const poweredOff = (await guest.exited).status === 0
      if (!poweredOff && !quit) throw error
    })
  } finally {
    socket.off('data', show)
    stdout.off('resize', resize)
    stdin.off('data', type).pause()
    restore()
    unhook()
  }
}

function sizeCommand({ rows, columns }: { rows: number; columns: number }): string {
  return `stty -F ${TTY} sane rows ${rows} cols ${columns}`
}
