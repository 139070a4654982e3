import { readFileSync } from 'node:fs'
import { type Req, u32s, u64 } from '../support/rings/session-peer.js'

/** A request of a recorded front-end. */
export interface RecordedRequest {
  readonly name: keyof typeof Req
  readonly payload: Uint8Array
  readonly fdCount: number
  /** Bytes of the files to pass: regions of memory; other descriptors are eventfds and sockets. */
  readonly regionBytes: readonly number[]
  readonly needReply: boolean
  /** True if the recorded back-end answered. */
  readonly answered: boolean
}

const LINE = /^ *[\d.]+ (F->B|B->F) (\w+) +(NEED_REPLY |REPLY )?len=(\d+) fds=(\d+) (.*)$/

/** Reads a transcript; its lines about connections are left out. Throws on a line that it does not understand. */
export function readTranscript(path: string): RecordedRequest[] {
  const requests: { -readonly [K in keyof RecordedRequest]: RecordedRequest[K] }[] = []
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    // STATUS was offered by the recording proxy: no back-end of ours does.
    if (line === '' || / == |_STATUS /.test(line)) continue
    const [, direction, name, flags, lenBytes, fdCount, text] = LINE.exec(line) ?? []
    if (direction === undefined) throw new Error(`${path}: ${line}`)
    const last = requests.at(-1)
    if (direction === 'B->F') {
      if (last?.name !== name) throw new Error(`${path}: an answer to nothing: ${line}`)
      last.answered = true
      continue
    }
    const payload = payloadOf(name as keyof typeof Req, text ?? '')
    if (payload.length !== Number(lenBytes)) throw new Error(`${path}: not ${lenBytes} bytes: ${line}`)
    requests.push({
      name: name as keyof typeof Req,
      payload,
      fdCount: Number(fdCount),
      regionBytes: [...(text ?? '').matchAll(/sz=(\w+)/g)].map(([, size]) => Number.parseInt(size ?? '', 16)),
      needReply: flags === 'NEED_REPLY ',
      answered: false,
    })
  }
  return requests
}

/** The bytes that were decoded into a line's text. */
function payloadOf(name: keyof typeof Req, text: string): Uint8Array {
  const decimal = (field: string) => Number(new RegExp(`${field}=(\\d+)`).exec(text)?.[1])
  const hex = (field: string) => BigInt(`0x${new RegExp(`${field}=(\\w+)`).exec(text)?.[1]}`)
  const regions = [...text.matchAll(/gpa=(\w+) sz=(\w+) uva=(\w+) off=(\w+)/g)].flatMap((fields) =>
    fields.slice(1).map((digits) => BigInt(`0x${digits}`)),
  )
  const u64s = (...values: bigint[]) => new Uint8Array(BigUint64Array.from(values).buffer)
  switch (name) {
    case 'SET_FEATURES':
    case 'SET_PROTOCOL_FEATURES':
      return u64(BigInt(text.trim()))
    case 'ADD_MEM_REG':
      return u64s(0n, ...regions)
    case 'SET_MEM_TABLE':
      return Buffer.concat([u32s(decimal('n'), 0), u64s(...regions)])
    case 'SET_VRING_NUM':
    case 'SET_VRING_BASE':
    case 'GET_VRING_BASE':
    case 'SET_VRING_ENABLE':
      return u32s(decimal('idx'), decimal('num'))
    case 'SET_VRING_ADDR':
      return Buffer.concat([
        u32s(decimal('idx'), decimal('flags')),
        u64s(hex('desc'), hex('used'), hex('avail'), hex('log')),
      ])
    case 'SET_VRING_KICK':
    case 'SET_VRING_CALL':
    case 'SET_VRING_ERR':
      return u64(decimal('idx'))
    default:
      return new Uint8Array(0)
  }
}
