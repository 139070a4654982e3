import { errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

/** Makes two connected sockets that keep the bounds of messages. Throws if there are too many descriptors. */
export function packetPair(): { readonly own: number; readonly other: number } {
  const pair = new Int32Array(2)
  const result = native.packetPair(pair)
  if (result < 0) throw new Error(`no socket pair: ${errnoName(-result)}`)
  const [own = -1, other = -1] = pair
  return { own, other }
}
