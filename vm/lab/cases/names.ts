/** Directories and attributes: the guest's view of the host, and the host's view of the guest. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { LabCase, Observation } from '../case.js'
import { told } from '../judging.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'

const POLICIES: readonly ShareName[] = ['direct', 'auto', 'always']
/** More entries than fit into one READDIR or READDIRPLUS, or into a page of the guest's cache. */
const ENTRIES = 200

function makeDirectory(scene: Scene, entries: number): { host: string; guest: string } {
  const host = scene.hostPath(scene.file())
  mkdirSync(host)
  for (let n = 0; n < entries; n++) writeFileSync(join(host, `entry-${n}`), `${n}\n`)
  return { host, guest: scene.guestPath(scene.file()) }
}

/** Lists names and sizes, lists again, then lists after the guest has added and removed entries. */
async function list(scene: Scene): Promise<Observation> {
  const { host, guest } = makeDirectory(scene, ENTRIES)
  // A pattern lists the directory without a look at each file.
  const names = `(cd ${guest} && printf '%s\\n' *)`
  const count = `${names} | sort -u | wc -l`
  const script = `cd / && ${count}; ${names} | wc -l; ls -l ${guest} | awk '{s += $5} END {print s}'
    touch ${guest}/added && ${count}; rm ${guest}/added ${guest}/entry-7 && ${count}`
  const seen = await scene.words(script)
  const onHost = readdirSync(host).length
  const bytes = Array.from({ length: ENTRIES }, (_, n) => `${n}\n`.length).reduce((a, b) => a + b, 0)
  const expected = `${ENTRIES} ${ENTRIES} ${bytes} ${ENTRIES + 1} ${ENTRIES - 1}`
  return { observed: seen === expected && onHost === ENTRIES - 1 ? 'complete' : seen, evidence: seen }
}

/** Makes files in the guest, renames over one, links and removes. */
async function rename(scene: Scene): Promise<Observation> {
  const { host, guest } = makeDirectory(scene, 0)
  const seen = await scene.words(
    `cd ${guest} && echo one >a && echo two >b && cat a b && mv a b && cat b && ls && ln b c && stat -c %h b &&
     rm b && stat -c %h c && cat c && mkdir d && mv c d/e && ls d && rmdir d 2>/dev/null || cat d/e && ls`,
  )
  const there = readFileSync(join(host, 'd/e'), 'utf8').trim()
  const expected = 'one two one b 2 1 one e one d'
  return {
    observed: seen === expected && there === 'one' ? 'right' : seen,
    evidence: `the host has ${there}`,
  }
}

/** Sets mode, owner, times and size in the guest, and compares both sides. */
async function attributes(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(100)
  const path = scene.guestPath(file)
  const seen = await scene.words(
    `stat ${path} >/dev/null; chmod 640 ${path}; chown 1000:1001 ${path}; touch -d '2001-02-03 04:05:06' ${path}; stat -c '%a %u %g %Y %s' ${path}`,
  )
  const { mode, uid, gid, mtimeMs, size } = statSync(scene.hostPath(file))
  const onHost = [(mode & 0o7777).toString(8), uid, gid, mtimeMs / 1000, size].join(' ')
  return { observed: seen === onHost ? seen : `${seen}, on the host ${onHost}`, evidence: '' }
}

/** Looks up an absent name, then makes and removes it in the guest. */
async function absent(scene: Scene): Promise<Observation> {
  const { guest } = makeDirectory(scene, 0)
  const is = (name: string): string => `test -e ${guest}/${name} && echo there || echo absent`
  const seen = await scene.words(`${is('a')}; touch ${guest}/a; ${is('a')}; rm ${guest}/a; ${is('a')}`)
  return { observed: seen, evidence: '' }
}

/** Modes of new files and directories under a umask. */
async function umask(scene: Scene): Promise<Observation> {
  const { guest } = makeDirectory(scene, 0)
  const seen = await scene.words(`cd ${guest} && umask 027 && echo >f && mkdir d && stat -c %a f d`)
  return { observed: seen, evidence: '' }
}

/** Symbolic links, and a file that is removed while open. */
async function links(scene: Scene): Promise<Observation> {
  const { host, guest } = makeDirectory(scene, 1)
  const seen = await scene.words(
    `cd ${guest} && ln -s entry-0 s && readlink s && cat s && exec 3<entry-0 && rm entry-0 && cat <&3; ls`,
  )
  const target = readlinkSync(join(host, 's'))
  const isGone = !existsSync(join(host, 'entry-0'))
  return { observed: target === 'entry-0' && isGone ? seen : `${seen}, host ${target}`, evidence: '' }
}

/** An unprivileged user must get an error if the mode forbids access. */
async function permissions(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(10)
  chmodSync(scene.hostPath(file), 0o640)
  const actor = scene.addActor()
  await actor.do('user 1000')
  const refused = await actor.attempt(`open f 0 ${scene.guestPath(file)}`)
  chmodSync(scene.hostPath(file), 0o644)
  await scene.guest.output(`chmod 644 ${scene.guestPath(file)}`)
  const allowed = await actor.attempt(`open f 0 ${scene.guestPath(file)}`)
  return { observed: `${told(refused)} > ${told(allowed)}`, evidence: '' }
}

export const nameCases: readonly LabCase[] = [
  {
    name: 'names/list',
    question: `a directory of ${ENTRIES}, listed with sizes, again, and after a change in the guest`,
    shares: POLICIES,
    expected: () => 'complete',
    run: list,
  },
  {
    name: 'names/rename',
    question: 'made, renamed over another, linked, removed',
    shares: POLICIES,
    expected: () => 'right',
    run: rename,
  },
  {
    name: 'names/attributes',
    question: 'mode, owner, group, time and size, as both sides say after chmod, chown and touch',
    shares: [...POLICIES, 'writeback'],
    expected: () => '640 1000 1001 981173106 100',
    run: attributes,
  },
  {
    name: 'names/absent',
    question: 'a name that is absent, then made, then removed',
    shares: POLICIES,
    expected: () => 'absent there absent',
    run: absent,
  },
  {
    name: 'names/umask',
    question: 'modes of a file and a directory that are made under umask 027',
    shares: ['direct', 'always'],
    expected: () => '640 750',
    run: umask,
  },
  {
    name: 'names/links',
    question: 'a symbolic link, and a file that is removed while it is open',
    shares: POLICIES,
    expected: () => 'entry-0 0 0 s',
    run: links,
  },
  {
    name: 'names/permissions',
    question: 'opened by a user: mode 640 of another > mode 644',
    shares: POLICIES,
    expected: () => 'EACCES > 0',
    run: permissions,
  },
]
