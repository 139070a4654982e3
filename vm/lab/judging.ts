/** Words and checks that cases share. */
import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../../src/inspect/trace-format.js'
import type { Outcome } from './actor.js'
import type { Scene } from './scene.js'

/** The value of an outcome, or the name of its errno. */
export function told(outcome: Outcome): string {
  return 'error' in outcome ? outcome.error : `${outcome.value}`
}

/** Adds a fault unless the requests that `keep` picks have these names, in this order. */
export function expectRequests(
  scene: Scene,
  keep: (request: TracedRequest) => boolean,
  name: (request: TracedRequest) => string,
  expected: string,
): void {
  scene.judgeRequests((requests) => {
    const seen = requests
      .filter(({ request }) => keep(request))
      .map(({ request }) => name(request))
      .join(' ')
    return seen === expected ? [] : [`${seen || 'nothing'} instead of ${expected}`]
  })
}

/** Adds a fault unless the requests with these opcodes are as expected, by their names and in this order. */
export function expectOpcodes(scene: Scene, opcodes: readonly number[], expected: string): void {
  expectRequests(
    scene,
    ({ opcode }) => opcodes.includes(opcode),
    ({ opcode }) => opcodeName(opcode),
    expected,
  )
}

/** Adds a fault unless there is a request like this. */
export function expectRequest(scene: Scene, what: string, isIt: (request: TracedRequest) => boolean): void {
  scene.judgeRequests((requests) => (requests.some(({ request }) => isIt(request)) ? [] : [`no ${what}`]))
}

/** Adds a fault if a WRITE comes after one of a higher offset. */
export function expectRisingWrites(scene: Scene): void {
  scene.judgeRequests((requests) => {
    const offsets = requests
      .filter(({ request }) => request.opcode === Opcode.WRITE)
      .map(({ request }) => request.offsetBytes)
    const late = offsets.findIndex((offset, n) => n > 0 && offset < offsets[n - 1]!)
    return late < 0 ? [] : [`the write at ${offsets[late]} comes after the one at ${offsets[late - 1]}`]
  })
}
