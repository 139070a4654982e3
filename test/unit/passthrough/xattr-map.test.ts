/** `--xattrmap`, in the notation and with the meaning of virtiofsd's doc/xattr-mapping.md. */
import t from 'tap'
import {
  guestXattrName,
  hostXattrName,
  parseXattrMap,
  XattrMapError,
} from '../../../src/passthrough/xattrs/xattr-map.js'

/** The translation of names of the guest, and of names of the host. */
function check(
  map: string,
  fromGuest: Readonly<Record<string, string>>,
  fromHost: Readonly<Record<string, string | undefined>>,
): void {
  t.test(map, async (t) => {
    const rules = parseXattrMap(map)
    for (const [name, expected] of Object.entries(fromGuest)) {
      const outcome = hostXattrName(rules, name)
      t.equal(outcome.pass ? outcome.name : outcome.type, expected, `guest: ${name}`)
    }
    for (const [name, expected] of Object.entries(fromHost))
      t.equal(guestXattrName(rules, name), expected, `host: ${name}`)
  })
}

check(
  ':map::user.virtiofs.:',
  { 'user.a': 'user.virtiofs.user.a', 'security.capability': 'user.virtiofs.security.capability' },
  { 'user.virtiofs.user.a': 'user.a', 'user.a': undefined, 'security.selinux': undefined },
)
check(
  ':map:trusted.:user.virtiofs.:',
  { 'trusted.a': 'user.virtiofs.trusted.a', 'user.virtiofs.trusted.a': 'bad', 'user.a': 'user.a' },
  { 'user.virtiofs.trusted.a': 'trusted.a', 'trusted.a': undefined, 'user.a': 'user.a' },
)
check(
  ':prefix:all::user.virtiofs.::bad:all:::',
  { 'user.a': 'user.virtiofs.user.a' },
  { 'user.virtiofs.user.a': 'user.a', 'user.a': undefined },
)
check(
  ' :prefix:all:trusted.:user.virtiofs.: \n :bad:server::trusted.: :bad:client:user.virtiofs.:: :ok:all:::',
  { 'trusted.a': 'user.virtiofs.trusted.a', 'user.virtiofs.x': 'bad', 'system.x': 'system.x' },
  { 'user.virtiofs.trusted.a': 'trusted.a', 'trusted.a': undefined, 'system.x': 'system.x' },
)
check(
  '/unsupported/all/security./security.//bad/client/system.///ok/all///',
  { 'security.selinux': 'unsupported', 'system.a': 'bad', 'user.a': 'user.a' },
  { 'security.selinux': undefined, 'system.a': 'system.a', 'user.a': 'user.a' },
)
check(
  ':ok:all:user.:user.:',
  { 'user.a': 'user.a', 'trusted.a': 'bad' },
  { 'user.a': 'user.a', 'trusted.a': undefined },
)
check('xbadxallxxxyokyallyyy', { 'user.a': 'bad' }, { 'user.a': undefined })

t.test('a fault in a map is reported with the number of the rule', async (t) => {
  for (const [map, message] of [
    ['', 'no rules'],
    ['  ', 'no rules'],
    [':ok:all::', "rule 1 does not end with its separator ':'"],
    [':ok:all::::bad:all:x:', "rule 2 does not end with its separator ':'"],
    [':good:all:::', "rule 1: type 'good' is not one of prefix, ok, bad, unsupported, map"],
    [':ok:guest:::', "rule 1: scope 'guest' is not one of all, client, server"],
    [':map::user.x.::ok:all:::', 'rule 1: map has to be the last rule'],
  ] as const)
    t.throws(() => parseXattrMap(map), new XattrMapError(message), map)
})
