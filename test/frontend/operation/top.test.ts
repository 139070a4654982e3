/** `virtiofsd-ts top`: what it shows, and that it restores the terminal. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import t, { type Test } from 'tap'
import { startControlled } from '../../support/device/control-client.js'
import { sleep } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

const PROGRAM = fileURLToPath(new URL('../../../program/main.js', import.meta.url))
const O_RDWR = 2
const ENTER = '\x1b[?1049h'
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
const noScript =
  spawnSync('script', ['--version']).status !== 0 && 'no script(1) here: nothing that plays a terminal'

/** `top` on a terminal of its own. */
class Terminal {
  screen = ''
  private readonly child
  readonly ended: Promise<number | null>

  constructor(t: Test, controlPath: string, { rows = 24, columns = 100, args = '' } = {}) {
    const { PATH } = process.env
    const top = `'${process.execPath}' '${PROGRAM}' top --control-socket '${controlPath}' --interval 0.2 ${args}`
    const words = ['-qec', `stty rows ${rows} cols ${columns}; ${top}; stty -a`, '/dev/null']
    this.child = spawn('script', words, { env: { PATH, TERM: 'xterm' } })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.screen += text
    })
    this.ended = once(this.child, 'exit').then(([status]) => status as number | null)
    t.teardown(() => this.child.kill())
  }

  async shows(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.screen)) await sleep(20)
  }

  press(keys: string): void {
    this.child.stdin.write(keys)
  }

  /** The last output on the alternate screen, and the output after it. */
  get frames(): readonly string[] {
    return this.screen.split('\x1b[H')
  }
}

t.test('--once prints rates, latencies, and what the guest holds', async (t) => {
  const { device, controlPath } = await startControlled(t, ['--tag', 'data'])
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  const top = runTop(controlPath, '--once', '--interval', '1')
  while (!top.isOver) {
    fs.getattr(ROOT_ID)
    fs.write(file.nodeid, file.handle, 0, new Uint8Array(4096))
    await sleep(2)
  }
  const { status, stdout } = await top.result
  t.equal(status, 0)
  t.match(stdout, /^virtiofsd-ts .* 1 share$/m)
  t.match(stdout, /^data +mounted +\d/m)
  t.match(stdout, /^GETATTR +data +\d[\d.k]* +0 +[\d.]+ (us|ms) +[\d.]+ (us|ms)$/m)
  t.match(stdout, /^WRITE +data /m)
  t.notMatch(stdout, '\x1b')
})

t.test('files and waiting locks are shown, and names cannot control the terminal', async (t) => {
  const { device, control, controlPath } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'bad\x1b[2Jname', O_RDWR)
  const top = runTop(controlPath, '--once', '--files', '--interval', '1')
  while (!top.isOver) {
    fs.write(file.nodeid, file.handle, 0, new Uint8Array(512))
    await sleep(2)
  }
  const { stdout } = await top.result
  t.match(stdout, /^ +0 +\d[\d.k]* +0 +\d+ +0 +bad\\u001b\[2Jname$/m)
  t.notMatch(stdout, '\x1b')
  t.match(await control.ask('state'), { inspecting: false }, 'inspection is off again')
})

t.test('inspection that was on before stays on', async (t) => {
  const { device, control, controlPath } = await startControlled(t, ['--inspect'])
  mount(t, device)
  t.equal((await runTop(controlPath, '--once', '--files', '--interval', '0.1').result).status, 0)
  t.match(await control.ask('state'), { inspecting: true })
})

for (const [how, end] of [
  ['q', (terminal: Terminal) => terminal.press('q')],
  ['Ctrl-C', (terminal: Terminal) => terminal.press('\x03')],
] as const)
  t.test(`on a terminal, top is ended by ${how} and restores it`, { skip: noScript }, async (t) => {
    const { device, controlPath } = await startControlled(t, ['--tag', 'data'])
    const fs = mount(t, device)
    const terminal = new Terminal(t, controlPath)
    await terminal.shows(/data +mounted[\s\S]*data +mounted/)
    fs.getattr(ROOT_ID)
    end(terminal)
    t.equal(await terminal.ended, 0)
    t.ok(terminal.screen.includes(ENTER))
    const after = terminal.screen.slice(terminal.screen.lastIndexOf(LEAVE))
    t.ok(after.startsWith(LEAVE), 'the screen, the cursor and the wrapping of lines are back')
    t.match(after, / icanon/)
    t.match(after, / echo\b/)
  })

t.test('top ends when the device ends', { skip: noScript }, async (t) => {
  const { device, controlPath } = await startControlled(t, ['--tag', 'data'])
  mount(t, device)
  const terminal = new Terminal(t, controlPath)
  await terminal.shows(/data +mounted/)
  await device.stop()
  await terminal.ended
  const after = terminal.screen.slice(terminal.screen.lastIndexOf(LEAVE))
  t.match(after, /virtiofsd-ts: top: the process closed the connection/)
  t.match(after, / icanon/)
})

t.test('on a small terminal no line wraps, and nothing scrolls', { skip: noScript }, async (t) => {
  const { device, controlPath } = await startControlled(t, ['--tag', 'data'])
  mount(t, device)
  const terminal = new Terminal(t, controlPath, { rows: 4, columns: 20 })
  await terminal.shows(/data +mounted[\s\S]*data +mounted/)
  terminal.press('q')
  await terminal.ended
  const frames = terminal.frames.slice(1, -1)
  t.ok(frames.length > 0)
  for (const frame of frames) {
    const lines = stripVTControlCharacters(frame).split(/\r*\n/)
    t.ok(lines.length <= 4, `${lines.length} lines`)
    t.ok(lines.every((line) => line.length <= 20))
  }
})

t.test('wrong arguments of top are refused', async (t) => {
  const place = tempDir(t)
  t.match(runProgram(['top', '--control-socket', `${place}/none`]), {
    status: 2,
    stderr: /^virtiofsd-ts: top: nobody answers at .* \(ENOENT\)$/,
  })
  const { controlPath } = await startControlled(t)
  t.match(runProgram(['top', '--control-socket', controlPath, '--interval', 'x']), {
    status: 2,
    stderr: /--interval x: not a number of seconds/,
  })
})

/** Runs `top` beside the test. */
function runTop(controlPath: string, ...args: readonly string[]) {
  const { PATH } = process.env
  const child = spawn(process.execPath, [PROGRAM, 'top', '--control-socket', controlPath, ...args], {
    env: { PATH },
  })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  const state = { isOver: false }
  const result = once(child, 'close').then(([status]) => {
    state.isOver = true
    return { status: status as number | null, stdout }
  })
  return {
    result,
    get isOver() {
      return state.isOver
    },
  }
}
