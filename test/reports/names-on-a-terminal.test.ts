/** A guest's file names cannot control a terminal, forge lines, or reverse text. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { visible, visibleJson, visibleLines } from 'virtio-fs-ts/protocol'
import { html, jsonForScript } from '../../vm/report/html.js'
import { startControlled } from '../support/device/control-client.js'
import { runProgram } from '../support/device/program.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const O_RDWR = 2
/** Escape sequences of 7 and 8 bits, a forged line, text that runs backwards, an invisible and an astral character. */
const NAMES = [
  'a\u001b]0;title\u0007\u001b[31mred',
  'b\u009b31mC1',
  'c\n12:00:00.000  q1  UNLINK  forged',
  'd\u202egnp.exe',
  'e\u200bf\u2028g\u{e0041}',
  'h"<script><b>',
]
const UNSEEN = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

t.test('each control character is made visible', async (t) => {
  t.equal(
    visible('a\u001b[2J\nb\u009b\u202e\u{e0041}\ud800é'),
    'a\\u001b[2J\\u000ab\\u009b\\u202e\\udb40\\udc41\\ud800é',
  )
  t.equal(visibleLines('a\nb\r'), 'a\nb\\u000d')
  for (const name of NAMES) {
    const json = visibleJson(JSON.stringify({ name }, undefined, 2))
    t.notMatch(json, UNSEEN)
    t.same(JSON.parse(json), { name }, 'and stays what it was to a program')
    t.notMatch(html`<p>${name}</p>`.text, UNSEEN)
    t.notMatch(jsonForScript(name).text, UNSEEN)
  }
})

t.test('ctl, trace and its summary print names with escapes', async (t) => {
  const trace = join(tempDir(t), 'trace')
  const { device, control, controlPath: socket } = await startControlled(t, ['--inspect', '--trace', trace])
  const fs = mount(t, device)
  for (const name of NAMES) {
    const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR)
    fs.write(nodeid, handle, 0, new Uint8Array(2))
  }
  t.match(await control.inodes(), { length: NAMES.length })
  await control.ask('trace', false)
  while (!readFileSync(trace).includes('<script>')) await new Promise((resolve) => setTimeout(resolve, 10))
  for (const args of [
    ['ctl', '--control-socket', socket, '--text', 'inodes'],
    ['ctl', '--control-socket', socket, '--json', 'inodes'],
    ['trace', trace],
    ['trace', '--json', trace],
    ['trace', '--summary', '--by', 'path', trace],
    ['trace', '--summary', '--by', 'path', '--json', trace],
  ]) {
    const { status, stdout } = runProgram(args)
    t.equal(status, 0, args.join(' '))
    t.notMatch(stdout, UNSEEN)
    t.notMatch(stdout, /^12:00:00/m, 'no forged line')
    t.match(stdout, /u202egnp/, 'they are there')
  }
})
