/** The words of a fault and its JSON mean the same, in both directions. */
import t from 'tap'
import { checkFaultSpec } from '../../../src/inspect/fault-spec.js'
import { faultWords, parseFaultWords } from '../../../src/inspect/fault-words.js'

const specs: Readonly<Record<string, object>> = {
  'opcode=WRITE+READ,path=**/db,hold=2,timeout-ms=300': {
    opcodes: ['WRITE', 'READ'],
    path: '**/db',
    hold: { until: 2, timeoutMs: 300 },
  },
  'delay-ms=5': { delay: { fixedMs: 5 } },
  'delay-ms=1..9.5': { delay: { uniformMs: [1, 9.5] } },
  'delay-ms=exp:5': { delay: { exponentialMs: 5 } },
  'delay-ms=normal:5:2': { delay: { normalMs: [5, 2] } },
  'opcode=READ,probability=0.1,limit=3,short-bytes=512': {
    opcodes: ['READ'],
    probability: 0.1,
    limit: 3,
    shortBytes: 512,
  },
  'path={a,,b}/*,errno=EIO': { path: '{a,b}/*', errno: 'EIO' },
  'violation=positive-error': { violation: 'positive-error' },
  'violation=no-data': { violation: 'no-data' },
}

t.test('words of a fault are read, and written again in the same form', async (t) => {
  for (const [words, spec] of Object.entries(specs)) {
    t.same(parseFaultWords(words), spec, words)
    t.equal(faultWords(checkFaultSpec(spec, true)), words)
  }
  t.same(parseFaultWords('hold=2'), { hold: { until: 2, timeoutMs: 1000 } })
})

t.test('malformed words are refused', async (t) => {
  for (const [words, complaint] of [
    ['delay-ms=soon', /delay-ms=soon: 'soon' is not a number/],
    ['delay-ms=1...2..3', /is not a number/],
    ['hold=', /'' is not a number/],
    ['sometimes=1', /unknown word 'sometimes'/],
    ['errno', /expected key=value, got 'errno'/],
  ] as const) {
    t.throws(() => parseFaultWords(words), { message: complaint }, words)
  }
})
