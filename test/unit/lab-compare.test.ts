/** The differences between two results of the lab, down to their requests. */

import t from 'tap'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { alignStreams, compareKernels } from '../../vm/lab/compare.js'
import { comparePage } from '../../vm/lab/compare-page.js'
import { Races } from '../../vm/lab/races.js'
import { streamOf } from '../../vm/lab/request-stream.js'
import type { Cell, KernelResult } from '../../vm/lab/result.js'

const cell = (name: string, share: string, observed: string | undefined, stream?: string[]): Cell =>
  ({ case: name, share, observed, stream }) as Cell
const kernel = (...cells: Cell[]): KernelResult => ({ release: '6.12', cells }) as unknown as KernelResult

const request = (seenMs: number, endMs: number, offsetBytes: number, more = {}): TimedRequest =>
  ({
    epochMs: 0,
    request: {
      ...{ opcode: Opcode.WRITE, seenMs, latencyUs: (endMs - seenMs) * 1000, offsetBytes, sizeBytes: 10 },
      ...{ flags: 1, detailFlags: 0, openFlags: 0, path: 'case', pid: seenMs, handle: 1, ...more },
    },
  }) as TimedRequest

t.test('streams are aligned where they have most in common', async (t) => {
  const lines = alignStreams(['OPEN', 'READ', 'WRITE', 'FLUSH'], ['OPEN', 'WRITE', 'WRITE 2', 'FLUSH'])
  t.same(
    lines.map(({ side, text }) => `${side} ${text}`),
    ['both OPEN', 'left READ', 'both WRITE', 'right WRITE 2', 'both FLUSH'],
  )
  t.same(alignStreams([], []), [])
})

t.test('requests have the order of their arrival, whatever the order of their replies', async (t) => {
  const words = (...requests: TimedRequest[]) => streamOf(requests, 'case')
  t.same(words(request(1, 9, 20), request(2, 8, 0)), words(request(1, 2, 20), request(3, 4, 0)))
  t.same(words(request(2, 8, 0), request(1, 9, 20)), ['WRITE 10@20 O_WRONLY', 'WRITE 10@0 O_WRONLY'])
  t.same(words(request(1, 2, 20), request(3, 4, 0)), ['WRITE 10@20 O_WRONLY', 'WRITE 10@0 O_WRONLY'])
  t.same(words(request(1, 2, 0, { path: 'other' }), request(1, 2, 0, { opcode: Opcode.GETATTR })), [])
  t.same(words(request(1, 2, 0, { path: 'case-b' })), ['WRITE -b 10@0 O_WRONLY'])
  t.equal(words(...Array.from({ length: 401 }, (_, n) => request(n, n, n))), undefined, 'too many')
})

t.test('handles have the numbers of their opens, whatever the device calls them', async (t) => {
  const stream = (first: number, second: number, writes: readonly number[]): string[] | undefined => {
    const open = (at: number, handle: number) => request(at, at, 0, { opcode: Opcode.OPEN, handle })
    const requests = writes.map((handle, n) => request(3 + n, 3 + n, n, { handle }))
    return streamOf([open(1, first), open(2, second), ...requests], 'case')
  }
  t.same(stream(7, 9, [7, 9]), stream(4_294_967_300, 3, [4_294_967_300, 3]))
  t.match(stream(7, 9, [7, 9]), [/^OPEN/, /^OPEN #2/, /^WRITE 10/, /^WRITE #2 10/])
  t.notSame(stream(7, 9, [7, 9]), stream(7, 9, [9, 9]), 'another handle is another request')
  const reused = [7, 7].map((handle, n) => request(n, n, 0, { opcode: Opcode.OPEN, handle }))
  t.match(streamOf([...reused, request(5, 5, 0, { handle: 7 })], 'case')?.at(-1), /^WRITE #2/)
})

const differences: Readonly<Record<string, (requests: TimedRequest[]) => TimedRequest[]>> = {
  'another flag': (all) => changed(all, { detailFlags: 4 }),
  'another length': (all) => changed(all, { sizeBytes: 9 }),
  'another offset': (all) => changed(all, { offsetBytes: 11 }),
  'another opcode': (all) => changed(all, { opcode: Opcode.READ }),
  'another handle': (all) => changed(all, { handle: 2 }),
  'another file': (all) => changed(all, { path: 'case-other' }),
  'other flags of an open': (all) => all.map((one, n) => (n === 0 ? altered(one, { flags: 0 }) : one)),
  'one request less': (all) => all.filter((_, n) => n !== CHANGED),
  'one request twice': (all) => all.flatMap((one, n) => (n === CHANGED ? [one, one] : [one])),
}
/** The place of the WRITE that is changed. */
const CHANGED = 3

function changed(all: TimedRequest[], more: object): TimedRequest[] {
  return all.map((one, n) => (n === CHANGED ? altered(one, more) : one))
}

function altered({ epochMs, request: old }: TimedRequest, more: object): TimedRequest {
  return { epochMs, request: { ...old, ...more } }
}

t.test('what a kernel does differently is seen, also where operations race', async (t) => {
  const sent = (ms: number, more: object): TimedRequest => ({ ...request(ms, ms, ms, more), epochMs: ms })
  const open = { opcode: Opcode.OPEN, offsetBytes: 0 }
  const all = [
    sent(1, { ...open, handle: 1 }),
    sent(2, { ...open, handle: 2 }),
    ...[3, 4, 5].map((ms) => sent(ms, {})),
  ]
  for (const races of [[], [{ fromMs: 3, toMs: 9 }]])
    for (const [what, change] of Object.entries(differences))
      t.notSame(streamOf(change(all), 'case', races), streamOf(all, 'case', races), what)
  const swapped = [...all.slice(0, 3), altered(all[3]!, { seenMs: 5 }), altered(all[4]!, { seenMs: 4 })]
  t.notSame(streamOf(swapped, 'case'), streamOf(all, 'case'), 'another order')
})

t.test('handles of opens that race share a number', async (t) => {
  const sent = (ms: number, handle: number, more = {}): TimedRequest => ({
    ...request(ms, ms, 0, { handle, ...more }),
    epochMs: ms,
  })
  const open = { opcode: Opcode.OPEN }
  const races = [{ fromMs: 4, toMs: 8 }]
  const some = [sent(5, 1, open), sent(6, 2, open), sent(9, 1), sent(10, 2, open), sent(11, 2)]
  const others = [sent(5, 2, open), sent(6, 1, open), sent(9, 2), sent(10, 1, open), sent(11, 1)]
  t.same(streamOf(some, 'case', races), streamOf(others, 'case', races))
  t.match(streamOf(some, 'case', races)?.at(-1), /^WRITE #2/)
})

t.test('requests of operations that race have no order among those of their opcode', async (t) => {
  const sent = (ms: number, offset: number, more = {}): TimedRequest => ({
    ...request(ms, ms, offset, more),
    epochMs: ms,
  })
  const sync = { opcode: Opcode.FSYNC }
  const some = [sent(1, 30), sent(5, 20), sent(6, 0, sync), sent(7, 0), sent(9, 10)]
  const others = [sent(1, 30), sent(5, 0), sent(6, 0, sync), sent(7, 20), sent(9, 10)]
  t.notSame(streamOf(some, 'case'), streamOf(others, 'case'))
  const races = [{ fromMs: 4, toMs: 8 }]
  t.same(streamOf(some, 'case', races), streamOf(others, 'case', races))
  t.match(streamOf(some, 'case', races), [/@30/, /@0/, /FSYNC/, /@20/, /@10/])
})

t.test('operations race while more than one runs, in one process or several', async (t) => {
  const races = new Races()
  races.begin()
  races.end(1)
  t.same(races.all, [], 'one alone')
  races.begin()
  races.begin()
  races.end(0)
  races.end(1)
  t.same(races.all, [], 'one still runs')
  races.end(1)
  t.equal(races.all.length, 1)
  t.ok(races.all[0]!.fromMs <= races.all[0]!.toMs)
})

t.test('cells differ in what was observed, in their requests, or not', async (t) => {
  const left = kernel(
    cell('a', 'direct', '8', ['OPEN']),
    cell('b', 'direct', '8', ['OPEN']),
    cell('c', 'direct', undefined),
    cell('d', 'direct', '1', ['OPEN', 'READ']),
  )
  const right = kernel(
    cell('a', 'direct', '8', ['OPEN']),
    cell('b', 'direct', '1', ['OPEN']),
    cell('d', 'direct', '1', ['OPEN']),
    cell('e', 'auto', '2'),
  )
  const { differences, compared } = compareKernels(left, right)
  t.equal(compared, 5)
  t.match(differences, [
    { case: 'b', observed: ['8', '1'], stream: [] },
    { case: 'd', observed: ['1', '1'], stream: [{ side: 'both' }, { side: 'left', text: 'READ' }] },
    { case: 'e', observed: ['-', '2'] },
  ])
  t.equal(differences.length, 3)
  t.same(compareKernels(left, left).differences, [], 'a result is like itself')
  t.match(comparePage(differences, ['6.12', '7.3'], '3 differ'), '<code>READ</code>')
})

t.test('one share can be put beside another', async (t) => {
  const both = kernel(cell('a', 'direct', '1'), cell('a', 'parallel', '8'), cell('b', 'auto', '1'))
  const { differences, compared } = compareKernels(both, both, { left: 'direct', right: 'parallel' })
  t.equal(compared, 1)
  t.match(differences, [{ case: 'a', share: 'direct, parallel', observed: ['1', '8'] }])
})
