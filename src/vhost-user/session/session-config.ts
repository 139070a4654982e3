import type { VhostUserDevice } from '../device.js'
import { ProtocolError } from '../errors.js'
import { CONFIG_MAX_BYTES } from '../protocol.js'
import { type Connection, expect, type Message } from './connection.js'
import { ConfigAccess } from './wire.js'

/** The device's configuration space, as messages read and write it. */
export class SessionConfig {
  constructor(
    private readonly connection: Connection,
    private readonly device: VhostUserDevice,
  ) {}

  /** GET_CONFIG. Returns the size of the reply in `connection.body`. Throws ProtocolError. */
  get(message: Message): number {
    const { offsetBytes, sizeBytes, config } = this.access(message)
    const { body } = this.connection
    ConfigAccess.writeHeader(body, offsetBytes, sizeBytes, 0)
    for (let n = 0; n < sizeBytes; n++)
      body.setUint8(ConfigAccess.HEADER_BYTES + n, config[offsetBytes + n] ?? 0)
    return ConfigAccess.HEADER_BYTES + sizeBytes
  }

  /** SET_CONFIG. Throws ProtocolError. */
  set(message: Message): void {
    const { offsetBytes, sizeBytes } = this.access(message)
    const { payload } = message
    const bytes = new Uint8Array(payload.buffer, payload.byteOffset + ConfigAccess.HEADER_BYTES, sizeBytes)
    // A copy, because the next message reuses the buffer.
    if (this.device.writeConfig?.(offsetBytes, bytes.slice()) !== true) {
      const range = `configuration bytes ${offsetBytes} to ${offsetBytes + sizeBytes}`
      throw new ProtocolError('BAD_REQUEST', `${range} are read-only, or refused by the device`)
    }
  }

  /** Returns the part of the configuration space that a message accesses. */
  private access(message: Message): { offsetBytes: number; sizeBytes: number; config: Uint8Array } {
    const { config } = this.device
    if (config === undefined) throw new ProtocolError('BAD_REQUEST', 'this device has no configuration space')
    const { payload } = message
    if (message.payloadBytes < ConfigAccess.HEADER_BYTES) expect(message, ConfigAccess.HEADER_BYTES, 0)
    const offsetBytes = ConfigAccess.offsetBytes(payload)
    const sizeBytes = ConfigAccess.sizeBytes(payload)
    expect(message, ConfigAccess.HEADER_BYTES + Math.min(sizeBytes, CONFIG_MAX_BYTES), 0)
    if (sizeBytes > CONFIG_MAX_BYTES || offsetBytes + sizeBytes > CONFIG_MAX_BYTES) {
      throw new ProtocolError(
        'BAD_PAYLOAD',
        `configuration bytes ${offsetBytes} to ${offsetBytes + sizeBytes}`,
      )
    }
    return { offsetBytes, sizeBytes, config }
  }
}
