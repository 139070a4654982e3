/** The guest's trace events beside the device's trace. */
import t from 'tap'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { joinEvents, parseGuestEvents } from '../../vm/lab/guest-events.js'

const TEXT = `# tracer: nop
#
           <...>-151     [001] .....    10.000000: fuse_request_send: connection 41 req 34 opcode 15 (FUSE_READ) len 80
        io-actor-151     [001] .....    10.000100: fuse_request_sent: connection 41 req 34 opcode 15 (FUSE_READ)
    kworker/1:1-9        [001] .....    10.004000: fuse_request_end: connection 41 req 34 len 4112 error 0
        io-actor-151     [000] d..1.    10.005000: fuse_request_send: connection 42 req 34 opcode 16 (FUSE_WRITE) len 4176
`

function request(unique: number, epochMs: number, latencyMs: number): TimedRequest {
  // Only these fields are looked at.
  return { request: { unique, latencyUs: latencyMs * 1000 }, epochMs } as TimedRequest
}

t.test('lines of the trace are read, all others left out', async (t) => {
  t.same(parseGuestEvents(TEXT), [
    { what: 'send', connection: 41, unique: 34, opcode: 15, atMs: 10_000 },
    { what: 'end', connection: 41, unique: 34, opcode: undefined, atMs: 10_004 },
    { what: 'send', connection: 42, unique: 34, opcode: 16, atMs: 10_005 },
  ])
  t.same(parseGuestEvents(''), [])
})

t.test('a request lies between its guest events, whatever the difference of the clocks', async (t) => {
  const seen = request(34, 500_001, 1)
  const joined = joinEvents([seen, request(36, 500_002, 1)], parseGuestEvents(TEXT), 41)
  t.same([...joined], [[seen, { sentMs: 499_999.5, endedMs: 500_003.5 }]], '4 ms around 1 ms, in the middle')
  t.equal(joinEvents([seen], parseGuestEvents(TEXT), 42).size, 0, 'an event without its end joins nothing')
  t.equal(joinEvents([seen], parseGuestEvents(TEXT), 43).size, 0, 'another connection')
})

t.test('the difference of the clocks is the median of several requests', async (t) => {
  const event = (what: 'send' | 'end', unique: number, atMs: number) => ({
    what,
    connection: 1,
    unique,
    opcode: 15,
    atMs,
  })
  const events = [2, 4, 6].flatMap((unique, n) => [
    event('send', unique, 20 * n),
    event('end', unique, 20 * n + 10),
  ])
  // The middles differ by 900 (a clock that jumped), 101 and 100.
  const requests = [request(2, 901, 8), request(4, 122, 8), request(6, 141, 8)]
  const joined = joinEvents(requests, events, 1)
  t.same(
    [...joined.values()],
    [0, 20, 40].map((sentMs) => ({ sentMs: sentMs + 101, endedMs: sentMs + 111 })),
  )
})

t.test('sends without a unique belong to the last requests of their opcode', async (t) => {
  const text = [
    ['1.000', 'send: connection 1 req 0 opcode 15 (FUSE_READ) len 80'],
    ['2.000', 'send: connection 1 req 0 opcode 15 (FUSE_READ) len 80'],
    ['2.250', 'send: connection 1 req 0 opcode 16 (FUSE_WRITE) len 80'],
    ['2.500', 'end: connection 1 req 8 len 4112 error 0'],
    ['2.750', 'end: connection 1 req 6 len 24 error 0'],
    ['3.000', 'send: connection 1 req 0 opcode 15 (FUSE_READ) len 80'],
    ['3.500', 'end: connection 1 req 10 len 4112 error 0'],
  ]
    .map(([seconds, event]) => `  cat-1  [000] .....  ${seconds}: fuse_request_${event}`)
    .join('\n')
  const of = (unique: number, opcode: number, epochMs: number) =>
    ({ request: { unique, opcode, latencyUs: 1000 }, epochMs }) as TimedRequest
  const [write, read, last] = [of(6, 16, 2499.5), of(8, 15, 2249.5), of(10, 15, 3249.5)]
  const joined = joinEvents([read, write, last], parseGuestEvents(text), 1)
  t.same(joined.get(read), { sentMs: 2000, endedMs: 2500 })
  t.same(joined.get(write), { sentMs: 2250, endedMs: 2750 })
  t.same(joined.get(last), { sentMs: 3000, endedMs: 3500 })
})
