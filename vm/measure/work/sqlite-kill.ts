import { setTimeout as sleep } from 'node:timers/promises'
import type { Guest } from '../../guest/guest.js'
import { PATIENCE_MS, type Workplace } from './workplace.js'

const DIRECTORY = 'sqlite-kill'
const WRITERS = 3
/** The writers run this long before their guest is killed. */
const KILL_AFTER_MS = 4_000

/**
 * Processes write to one database with synchronous=FULL and report each row after its commit. The guest is killed
 * meanwhile. In the next guest the database must be intact and hold each reported row.
 */
export async function killSqlite(place: Workplace): Promise<void> {
  const told = await writeUntilKilled(place, await place.guest())
  const query = 'pragma integrity_check; select who, count(*), max(n) from t group by who'
  const [verdict, ...rows] = (await place.output(DIRECTORY, `sqlite3 db "${query}"`)).trim().split('\n')
  if (verdict !== 'ok') throw new Error(`integrity_check: ${verdict}`)
  const there = new Map(
    rows.map((row) => row.split('|').map(Number)).map(([who, count, last]) => [who!, { count, last: last! }]),
  )
  told.forEach((committed, who) => {
    const { count = 0, last = 0 } = there.get(who) ?? {}
    if (count !== last || last < committed)
      throw new Error(`writer ${who} committed ${committed} rows; ${count} are there, the last is ${last}`)
  })
}

/** Returns how many rows each writer has reported when the guest is gone. */
async function writeUntilKilled(place: Workplace, guest: Guest): Promise<number[]> {
  await place.output(DIRECTORY, 'python3 ../scripts/sqlite-writer.py 1000 1')
  const told = new Array<number>(WRITERS).fill(0)
  let over = false
  const writers = told.map(async (_, who) => {
    const command = place.command(DIRECTORY, `python3 ../scripts/sqlite-teller.py ${who}`)
    const writer = guest.converse(command)
    try {
      for (let n = 1; ; n++) told[who] = Number(await writer.ask(`${n}`, PATIENCE_MS))
    } catch (error) {
      if (!over) throw error
    }
  })
  const begun = async () => {
    while (told.some((rows) => rows === 0)) await sleep(100)
    await sleep(KILL_AFTER_MS)
  }
  await Promise.race([begun(), ...writers])
  over = true
  await place.killGuest()
  await Promise.all(writers)
  return told
}
