import { strict as assert } from 'node:assert'
import { constants as os } from 'node:os'
import type { Case } from '../support/device/cases.js'
import { Op } from '../support/fuse/fuse-abi.js'
import { EMPTY } from '../support/fuse/fuse-client.js'
import { pattern } from '../support/pattern.js'

const known = new Set<number>(Object.values(Op))

/** Those that exist and are not served (xattrs, locks, IOCTL, TMPFILE ...), those that do not exist, and CUSE's. */
const unknown = [
  ...Array.from({ length: 64 }, (_, opcode) => opcode).filter((opcode) => !known.has(opcode)),
  ...[64, 255, 4096, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
]

export const unknownOpcodeCases: readonly Case[] = [
  {
    name: `every other opcode (${unknown.length} of them): ENOSYS, whatever its arguments`,
    run({ fs, dir }) {
      for (const opcode of unknown) {
        for (const args of [new Uint8Array(0), new Uint8Array(128), pattern(300, opcode & 0xff)]) {
          const { error } = fs.call({ opcode, nodeid: dir, args, reply: { argBytes: 64 } })
          assert.equal(error, os.errno.ENOSYS, `opcode ${opcode}`)
        }
      }
    },
  },
  {
    name: 'INTERRUPT and NOTIFY_REPLY have no reply',
    run({ fs, dir }) {
      for (const opcode of [Op.INTERRUPT, Op.NOTIFY_REPLY]) {
        fs.call({ opcode, nodeid: dir, args: new Uint8Array(8), reply: 'none' })
        fs.start({ opcode, nodeid: dir, args: new Uint8Array(8), reply: EMPTY })
        assert.throws(() => fs.finish(), /too short \(0\)/)
      }
    },
  },
]
