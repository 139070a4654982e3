/** The lab reports a guest that hangs, panics or complains in a case, and the next case has a guest again. */
import { constants } from 'node:fs'
import t from 'tap'
import type { LabCase } from '../../vm/lab/case.js'
import { rulesOf } from '../../vm/lab/expectations.js'
import type { KernelChoice } from '../../vm/lab/lab-guest.js'
import type { Cell, KernelResult } from '../../vm/lab/result.js'
import { runKernel } from '../../vm/lab/runner.js'
import type { Scene } from '../../vm/lab/scene.js'

t.setTimeout(300_000)

function makeCase(name: string, run: (scene: Scene) => Promise<string>): LabCase {
  return {
    name,
    question: 'of a test',
    shares: ['direct'],
    expected: () => 'right',
    run: async (scene) => ({ observed: await run(scene), evidence: '' }),
  }
}

async function openFile(scene: Scene) {
  const file = scene.makeFile(4096)
  const actor = scene.addActor()
  await actor.do(`open f ${constants.O_RDWR} ${scene.guestPath(file)}`)
  return { file, actor }
}

const cases: readonly LabCase[] = [
  makeCase('test/hangs', async (scene) => {
    const { file, actor } = await openFile(scene)
    await scene.holdWrites(file, 2)
    await actor.do('write f 4096 0 1')
    return 'right'
  }),
  makeCase('test/panics', async (scene) => {
    await scene.guest.output('echo c >/proc/sysrq-trigger')
    return 'right'
  }),
  makeCase('test/complains', async (scene) => {
    await scene.guest.output("echo '<4>WARNING: CPU: 0 PID: 1 at fs/fuse/file.c:1' >/dev/kmsg")
    return 'right'
  }),
  makeCase('test/loses-a-block', async (scene) => {
    const { file, actor } = await openFile(scene)
    await actor.do('write f 100 0 1')
    scene.model(file).fill(0, 200, 1)
    return 'right'
  }),
  makeCase('test/writes-elsewhere', async (scene) => {
    const { file, actor } = await openFile(scene)
    await actor.do('write f 100 100 1')
    scene.model(file).fill(100, 100, 1)
    scene.model(file).expectWrite(0, 100)
    return 'right'
  }),
  makeCase('test/right', async (scene) => {
    const { file, actor } = await openFile(scene)
    await actor.do('write f 100 100 1')
    scene.model(file).fill(100, 100, 1)
    scene.model(file).expectWrite(100, 100)
    return 'right'
  }),
]

t.test('each fault is reported, with what is known of it', async (t) => {
  const told: [cells: number, complete: boolean][] = []
  const listener = {
    booted: () => {},
    begun: () => {},
    ended: (_: Cell, { cells, isComplete }: KernelResult) => void told.push([cells.length, isComplete]),
  }
  // Logs without times, as a kernel of tinyconfig does.
  const choice: KernelChoice = { kernel: '6.12', kernelArgs: ['printk.time=0'] }
  const options = { selects: () => true, expectations: rulesOf() }
  const { cells, isComplete } = await runKernel(choice, cases, listener, options)
  t.same(
    cells.map(({ observed, verdict }) => [observed, verdict]),
    [
      ['hangs', 'unexpected'],
      ['panics', 'unexpected'],
      ['right', 'unexpected'],
      ['right; 100 bytes wrong on the host, from 100 on; other bytes in the guest', 'unexpected'],
      ['right; no WRITE 100@0; needless WRITE 100@100', 'unexpected'],
      ['right', 'as expected'],
    ],
  )
  const [hung, panicked, complaining] = cells
  t.match(hung!.trouble.join('\n'), /io-actor .* in request_wait_answer\n.*request_wait_answer/s)
  t.match(panicked!.trouble.join('\n'), /sysrq triggered crash/)
  t.same(complaining!.trouble, ['WARNING: CPU: 0 PID: 1 at fs/fuse/file.c:1'])
  t.ok(isComplete)
  t.same(
    told,
    cells.map((_, n) => [n + 1, false]),
    'the result grows with each cell',
  )
})
