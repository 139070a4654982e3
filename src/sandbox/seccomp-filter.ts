import { constants, systemCallNumber } from 'virtiofsd-ts-native'
import type { SeccompAction } from '../config/options/process-options.js'
import type { ArgumentRule, SystemCallRule } from './system-calls.js'

// Classic BPF (linux/bpf_common.h), and the return values of a seccomp filter (linux/seccomp.h).
const LOAD_WORD = 0x20
const JUMP_IF_EQUAL = 0x15
const JUMP_IF_AT_LEAST = 0x35
const AND = 0x54
const RETURN = 0x06
const RET_ALLOW = 0x7fff_0000
const RET_ERRNO = 0x0005_0000
const results = { log: 0x7ffc_0000, trap: 0x0003_0000, kill: 0x8000_0000 } as const

// struct seccomp_data: nr at 0, arch at 4, instruction pointer at 8, args from 16 on, little endian.
const AT_NUMBER = 0
const AT_ARCH = 4
const AT_ARGUMENTS = 16
/** This bit marks calls of the x32 ABI, which has the same architecture number as x86-64. */
const X32_BIT = 0x4000_0000

interface Instruction {
  readonly code: number
  readonly k: number
  /** Instructions to skip if a comparison holds, and if it does not. */
  readonly yes?: number
  readonly no?: number
}

/** struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
const INSTRUCTION_BYTES = 8

const load = (at: number): Instruction => ({ code: LOAD_WORD, k: at })
const giveBack = (result: number): Instruction => ({ code: RETURN, k: result })

/** Makes a filter for native.seccompInstall. It allows the system calls of the rules; others meet `action`. */
export function seccompFilter(
  rules: readonly SystemCallRule[],
  action: Exclude<SeccompAction, 'none'>,
): Uint8Array {
  const refused = giveBack(results[action])
  const program: Instruction[] = [
    load(AT_ARCH),
    { code: JUMP_IF_EQUAL, k: constants.AUDIT_ARCH, yes: 1, no: 0 },
    refused,
    load(AT_NUMBER),
    { code: JUMP_IF_AT_LEAST, k: X32_BIT, yes: 0, no: 1 },
    refused,
  ]
  for (const rule of rules) {
    const number = systemCallNumber(rule.name)
    // Another architecture has this call, or newer headers do.
    if (number < 0) continue
    const block = blockOf(rule, refused)
    program.push({ code: JUMP_IF_EQUAL, k: number, yes: 0, no: block.length }, ...block)
  }
  program.push(refused)
  return encode(program)
}

/** The instructions after the number has matched. Every path through them returns. */
function blockOf(rule: SystemCallRule, refused: Instruction): Instruction[] {
  if ('allow' in rule) return [giveBack(RET_ALLOW)]
  if ('errno' in rule) return [giveBack(RET_ERRNO | rule.errno)]
  return [...rule.when.flatMap((condition) => checkOf(condition, refused)), giveBack(RET_ALLOW)]
}

function checkOf({ argument, half, mask, values }: ArgumentRule, refused: Instruction): Instruction[] {
  return [
    load(AT_ARGUMENTS + 8 * argument + (half === 'high' ? 4 : 0)),
    { code: AND, k: mask },
    // Skips the other values and the refusal.
    ...values.map((k, n) => ({ code: JUMP_IF_EQUAL, k, yes: values.length - n, no: 0 })),
    refused,
  ]
}

function encode(program: readonly Instruction[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(program.length * INSTRUCTION_BYTES))
  program.forEach(({ code, k, yes = 0, no = 0 }, n) => {
    const at = n * INSTRUCTION_BYTES
    view.setUint16(at, code, true)
    view.setUint8(at + 2, yes)
    view.setUint8(at + 3, no)
    view.setUint32(at + 4, k >>> 0, true)
  })
  return new Uint8Array(view.buffer)
}
