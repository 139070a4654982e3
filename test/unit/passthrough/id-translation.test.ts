/** `--translate-uid` and `--translate-gid`: the six types of virtiofsd, and what is wrong with a specification. */
import t from 'tap'
import {
  FORBIDDEN_ID,
  IdTranslation,
  IdTranslationError,
} from '../../../src/passthrough/owners/id-translation.js'

const MAX_ID = 0xffff_fffe

/** Pairs [guest's id, host's id it becomes], and pairs [host's id, guest's id it becomes]. */
function check(
  specs: readonly string[],
  toHost: readonly [number, number][],
  toGuest: readonly [number, number][],
) {
  t.test(specs.join(' ') || 'nothing', async (t) => {
    const ids = new IdTranslation(specs)
    t.equal(ids.isIdentity, specs.length === 0)
    for (const [guest, host] of toHost) t.equal(ids.hostId(guest), host, `guest ${guest}`)
    for (const [host, guest] of toGuest) t.equal(ids.guestId(host), guest, `host ${host}`)
  })
}

check(
  [],
  [
    [0, 0],
    [1000, 1000],
    [MAX_ID, MAX_ID],
  ],
  [
    [0, 0],
    [MAX_ID, MAX_ID],
  ],
)
check(
  ['guest:0:1000:10'],
  [
    [0, 1000],
    [9, 1009],
    [10, 10],
  ],
  [
    [1000, 1000],
    [0, 0],
  ],
)
check(
  ['host:1000:0:1'],
  [
    [0, 0],
    [1000, 1000],
  ],
  [
    [1000, 0],
    [1001, 1001],
    [0, 0],
  ],
)
check(
  ['squash-guest:0:1000:4294967295'],
  [
    [0, 1000],
    [5, 1000],
    [MAX_ID, 1000],
  ],
  [
    [1000, 1000],
    [0, 0],
  ],
)
check(
  ['squash-host:0:65534:1000'],
  [[5, 5]],
  [
    [0, 65534],
    [999, 65534],
    [1000, 1000],
  ],
)
check(
  ['forbid-guest:0:1'],
  [
    [0, FORBIDDEN_ID],
    [1, 1],
  ],
  [[0, 0]],
)
check(
  ['map:0:100000:65536'],
  [
    [0, 100000],
    [65535, 165535],
    [65536, 65536],
  ],
  [
    [100000, 0],
    [165535, 65535],
    [0, 0],
  ],
)
check(
  ['map:0:100000:1', 'map:1000:1000:1', 'forbid-guest:1:999', 'squash-host:0:65534:1000'],
  [
    [0, 100000],
    [1000, 1000],
    [1, FORBIDDEN_ID],
    [999, FORBIDDEN_ID],
    [1001, 1001],
  ],
  [
    [100000, 0],
    [1000, 1000],
    [0, 65534],
  ],
)

t.test('a fault in a specification is reported in one line', async (t) => {
  for (const [specs, message] of [
    [
      ['both:0:0:1'],
      "'both:0:0:1': type 'both' is not one of guest, host, squash-guest, squash-host, forbid-guest, map",
    ],
    [['map:0:0'], "'map:0:0': expected 3 whole numbers after the type, separated by colons"],
    [['map:0:0:1:2'], "'map:0:0:1:2': expected 3 whole numbers after the type, separated by colons"],
    [
      ['forbid-guest:0:0:1'],
      "'forbid-guest:0:0:1': expected 2 whole numbers after the type, separated by colons",
    ],
    [['map:-1:0:1'], "'map:-1:0:1': expected 3 whole numbers after the type, separated by colons"],
    [['guest:0:4294967295:1'], "'guest:0:4294967295:1': the range goes beyond 4294967294"],
    [['guest:4294967290:0:10'], "'guest:4294967290:0:10': the range goes beyond 4294967294"],
    [['guest:0:0:10', 'map:9:100:1'], "two ranges translate the guest's id 9"],
    [['host:5:0:1', 'map:100:0:10'], "two ranges translate the host's id 5"],
  ] as const)
    t.throws(() => new IdTranslation(specs), new IdTranslationError(message), specs.join(' '))
})
