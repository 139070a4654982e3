/** V8 prints an error for a flag that it does not know, and goes on without it. */
import { execFileSync } from 'node:child_process'
import t from 'tap'
import { V8_FLAGS } from '../../src/share/v8-flags.js'

t.test('this Node knows each flag that a share runs with', async (t) => {
  const known = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })
  for (const flag of V8_FLAGS) {
    const name = flag.replace(/^--(no-)?/, '').replace(/=.*/, '')
    t.match(known, new RegExp(`^ +--${name} `, 'm'), flag)
  }
})
