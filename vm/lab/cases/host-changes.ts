/** What the guest sees of a file that the host has changed or replaced, once what it remembers has expired. */
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import type { LabCase, Observation } from '../case.js'
import type { Scene } from '../scene.js'
import { attributesExpire } from './cache.js'

/** 2001-09-09. */
const LONG_AGO = 1_000_000_000
const [USER, GROUP] = [1000, 1001]
const PAGE = 4096

/** The host changes everything that stat tells. The guest looks twice: the second answer comes out of its own memory. */
async function attributes(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(100)
  const host = scene.hostPath(file)
  const path = scene.guestPath(file)
  await scene.guest.output(`stat ${path}`)
  linkSync(host, `${host}-link`)
  chownSync(host, USER, GROUP)
  chmodSync(host, 0o751)
  appendFileSync(host, Buffer.alloc(5 * PAGE, 7))
  scene.model(file).fill(100, 5 * PAGE, 7)
  utimesSync(host, LONG_AGO, LONG_AGO + 1)
  await attributesExpire(scene)
  const look = `stat -c '%a %u %g %h %X %Y %b' ${path}`
  const seen = (await scene.guest.output(`${look}; ${look}`)).trim().split('\n')
  const { blocks } = statSync(host)
  const told = seen.map((line) => line.replace(new RegExp(` ${blocks}$`), ' the same blocks'))
  return { observed: told[0] === told[1] ? told[0]! : told.join(' > '), evidence: '' }
}

/** The host puts another file in the place of one that the guest knows. */
async function replaced(scene: Scene): Promise<Observation> {
  const file = scene.makeFileOf(Buffer.from('old'))
  const host = scene.hostPath(file)
  const read = async (): Promise<string> => scene.guest.output(`cat ${scene.guestPath(file)}`)
  const before = await read()
  writeFileSync(`${host}-new`, 'new')
  renameSync(`${host}-new`, host)
  scene.model(file).replace(Buffer.from('new'))
  await attributesExpire(scene)
  return { observed: `${before} > ${await read()}`, evidence: '' }
}

export const hostChangeCases: readonly LabCase[] = [
  {
    name: 'names/host-changes',
    question: 'mode, owner, group, links, times and blocks after the host has changed them',
    shares: ['direct', 'auto'],
    expected: () => `751 ${USER} ${GROUP} 2 ${LONG_AGO} ${LONG_AGO + 1} the same blocks`,
    run: attributes,
  },
  {
    name: 'names/replaced',
    question: 'contents of a name that the host has given to another file',
    shares: ['direct', 'auto'],
    expected: () => 'old > new',
    run: replaced,
  },
]
