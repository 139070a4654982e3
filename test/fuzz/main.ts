/** make fuzz: every target after the other, each in a process of its own, with the native code under sanitizers. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type ChildLine, type TargetName, targetNames } from './child-options.js'
import { FuzzFailure, runChild } from './run-child.js'
import { findSanitizers } from './sanitizers.js'

/** The share of each target in a whole run. Requests cost several times what messages do. */
const shares: Readonly<Record<TargetName, number>> = {
  messages: 0.35,
  rings: 0.3,
  races: 0.1,
  requests: 0.13,
  threads: 0.05,
  trees: 0.05,
  state: 0.02,
}
const DEFAULT_MESSAGES = 10_000_000

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    messages: { type: 'string', default: String(DEFAULT_MESSAGES) },
    threads: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    replay: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed)
const messages = Number(values.messages)
const threads = Number(values.threads)
const { target: chosen } = values
if (!Number.isInteger(seed) || !Number.isInteger(messages) || messages < 1)
  fail('seed and messages are whole numbers')
if (!Number.isInteger(threads) || threads < 1) fail('threads are 1 or more')
if (chosen !== undefined && !isTarget(chosen))
  fail(`no target '${chosen}': there are ${targetNames.join(', ')}`)
if (values.replay !== undefined && chosen === undefined)
  fail('a replay needs the target that the input is for')

const started = performance.now()
let total = 0
for (const [n, target] of targetNames.entries()) {
  if (chosen !== undefined && chosen !== target) continue
  const share = chosen === undefined ? Math.ceil(messages * shares[target]) : messages
  total += (await run(target, share, (seed ^ (n << 24)) >>> 0)).messages
}
const seconds = (performance.now() - started) / 1000
say(
  `${total} messages and requests in ${seconds.toFixed(1)} s (seed ${seed}): no crash, no hang, no sanitizer report`,
)

async function run(target: TargetName, share: number, seedOfTarget: number): Promise<ChildLine> {
  const state = mkdtempSync(join(tmpdir(), 'vfs-fuzz-'))
  const scratch = join(state, 'scratch')
  mkdirSync(scratch)
  const inputPath = join(state, 'input')
  const replay = values.replay === undefined ? undefined : new Uint8Array(readFileSync(values.replay))
  const options = {
    target,
    messages: share,
    seed: seedOfTarget,
    threads,
    scratch,
    inputPath,
    replay,
    keep: values.keep,
  }
  const begun = performance.now()
  try {
    const last = await runChild(options, findSanitizers(), (line) => report(target, line, begun))
    report(target, last, begun)
    return last
  } catch (error) {
    if (!(error instanceof FuzzFailure)) throw error
    const kept = resolve(`fuzz-${target}.input`)
    const bytes = existsSync(inputPath) ? readFileSync(inputPath) : Buffer.alloc(0)
    // It failed before the first input.
    if (bytes.length <= 4) return fail(`${target}: ${error.message}`)
    copyInput(bytes, kept)
    return fail(`${target}: ${error.message}\nagain: make fuzz TARGET=${target} REPLAY=${kept}`)
  } finally {
    rmSync(state, { recursive: true, force: true })
  }
}

function copyInput(bytes: Buffer, path: string): void {
  writeFileSync(path, bytes.subarray(4, 4 + bytes.readUInt32LE(0)))
}

function report(target: string, { messages: done, inputs, blocks, pool }: ChildLine, begun: number): void {
  const perSecond = Math.round(done / ((performance.now() - begun) / 1000))
  const guided = blocks > 0 ? `, ${blocks} blocks run, ${pool} inputs worth changing` : ''
  say(`${target}: ${done} in ${inputs} inputs, ${perSecond} a second${guided}`)
}

function isTarget(name: string): name is TargetName {
  return (targetNames as readonly string[]).includes(name)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function fail(reason: string): never {
  process.stderr.write(`fuzz: ${reason}\n`)
  process.exit(1)
}
