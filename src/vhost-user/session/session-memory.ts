import { ProtocolError } from '../errors.js'
import { GuestMemory } from '../memory/guest-memory.js'
import { MAX_MEM_SLOTS, MEM_TABLE_MAX_REGIONS } from '../protocol.js'
import type { RingSet } from '../rings/ring-set.js'
import { expect, type Message } from './connection.js'
import { MemoryRegion, MemoryTable, SingleRegion } from './wire.js'

/** The guest memory of a connection, as messages change it. */
export class SessionMemory {
  constructor(private readonly rings: RingSet) {}

  /**
   * SET_MEM_TABLE: replaces all memory. Running rings keep their position and look up their parts in the new memory. Throws
   * ProtocolError.
   */
  setTable(message: Message): void {
    const { payload } = message
    const count = message.payloadBytes >= MemoryTable.HEADER_BYTES ? MemoryTable.regionCount(payload) : 0
    if (count === 0 || count > MEM_TABLE_MAX_REGIONS) {
      throw new ProtocolError(
        'BAD_PAYLOAD',
        `memory table of ${count} regions, not 1 to ${MEM_TABLE_MAX_REGIONS}`,
      )
    }
    expect(message, MemoryTable.regionAt(count), count)
    const fresh = new GuestMemory(this.rings.memory.keptFds)
    try {
      for (let n = 0; n < count; n++) mapRegion(fresh, message, MemoryTable.regionAt(n), n)
      this.rings.mustBeLogged(fresh.endGpa)
    } catch (error) {
      fresh.destroy()
      throw error
    }
    this.rings.replaceMemory(fresh)
  }

  /** ADD_MEM_REG. Throws ProtocolError. */
  add(message: Message): void {
    expect(message, SingleRegion.BYTES, 1)
    if (this.rings.memory.regionCount >= MAX_MEM_SLOTS) {
      throw new ProtocolError('BAD_MEMORY', `more than ${MAX_MEM_SLOTS} memory regions`)
    }
    const at = SingleRegion.REGION_AT
    const { payload } = message
    this.rings.mustBeLogged(MemoryRegion.gpa(payload, at) + MemoryRegion.sizeBytes(payload, at))
    mapRegion(this.rings.memory, message, at, 0)
  }

  /** REM_MEM_REG. Throws ProtocolError. */
  remove(message: Message): void {
    // Older front-ends send the region's descriptor too; the connection closes it.
    if (message.fds.length > 1)
      throw new ProtocolError('BAD_FDS', `${message.fds.length} descriptors, not 0 or 1`)
    expect(message, SingleRegion.BYTES, message.fds.length)
    const { payload } = message
    const at = SingleRegion.REGION_AT
    const gpa = MemoryRegion.gpa(payload, at)
    const sizeBytes = MemoryRegion.sizeBytes(payload, at)
    this.rings.removeMemory(gpa, sizeBytes, MemoryRegion.uva(payload, at))
  }
}

function mapRegion(memory: GuestMemory, message: Message, at: number, fdIndex: number): void {
  const { payload } = message
  memory.add(
    message.fds[fdIndex],
    MemoryRegion.gpa(payload, at),
    MemoryRegion.sizeBytes(payload, at),
    MemoryRegion.uva(payload, at),
    MemoryRegion.fileOffsetBytes(payload, at),
  )
}
