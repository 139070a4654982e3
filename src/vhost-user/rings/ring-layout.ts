/** The places of a split virtqueue's parts in guest memory, and their sizes (virtio 1.3, 2.7). */
import { hasBit, VirtioFeature } from '../protocol.js'

/** Guest-physical addresses of the three parts, and the size in descriptors. */
export interface RingLayout {
  readonly size: number
  readonly descGpa: number
  readonly availGpa: number
  readonly usedGpa: number
}

/** Addresses of a ring's parts in the front-end's own address space, from SET_VRING_ADDR. */
export interface RingAddresses {
  readonly descUva: number
  readonly availUva: number
  readonly usedUva: number
}

/** The negotiated features of rings. */
export interface RingFeatures {
  readonly eventIdx: boolean
  readonly indirect: boolean
}

/** Those among the virtio features that a driver has acknowledged. */
export function ringFeaturesOf(features: bigint): RingFeatures {
  return {
    eventIdx: hasBit(features, VirtioFeature.RING_EVENT_IDX),
    indirect: hasBit(features, VirtioFeature.RING_INDIRECT_DESC),
  }
}

export const DESC_BYTES = 16

/** Bytes of the descriptor table. */
export const descBytes = (size: number) => size * DESC_BYTES
/** Bytes of the available ring: flags, idx, ring[size], used_event. */
export const availBytes = (size: number) => 6 + 2 * size
/** Bytes of the used ring: flags, idx, ring[size] of two words, avail_event. */
export const usedBytes = (size: number) => 6 + 8 * size
