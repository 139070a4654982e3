/** virtio 1.3, 5.11.4: tag[36], then the number of request queues. */
const TAG_BYTES = 36
const CONFIG_BYTES = 40

/** The device configuration space for a tag. Throws RangeError for a tag that is empty or longer than 36 bytes. */
export function fsConfig(tag: string, requestQueues: number): Uint8Array {
  const name = new TextEncoder().encode(tag)
  if (name.length === 0 || name.length > TAG_BYTES) throw new RangeError(`a tag has 1 to ${TAG_BYTES} bytes`)
  const config = new Uint8Array(CONFIG_BYTES)
  config.set(name)
  new DataView(config.buffer).setUint32(TAG_BYTES, requestQueues, true)
  return config
}
