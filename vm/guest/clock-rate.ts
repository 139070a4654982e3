import { join } from 'node:path'
import { execa } from 'execa'
import { compileGuestPrograms } from './guest-programs.js'

let known: Promise<number> | undefined

/** The rate of this machine's time stamp counter in kHz. Under TCG a guest has the same counter. */
export function clockRateKhz(): Promise<number> {
  known ??= measure()
  return known
}

async function measure(): Promise<number> {
  const { stdout } = await execa(join(await compileGuestPrograms(), 'tsc-rate'))
  return Number(stdout)
}
