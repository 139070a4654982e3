import { strict as assert } from 'node:assert'
import type { FsDevice } from 'virtio-fs-ts'
import { Counters } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { parseCommandLine } from '../../../src/config/command-line.js'
import { OpenRules } from '../../../src/io-mode/open-rules.js'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { makeFsDevice } from '../../../src/share/make-fs-device.js'
import type { ShareConfig } from '../../../src/share/share-config.js'
import { countOpenFds } from '../../support/device/descriptors.js'
import { ByteSource } from '../byte-source.js'
import { FuseFuzzer, type MadeRequest } from '../fuse-fuzzer.js'
import { recordsOf } from '../input.js'
import { RingGuest } from '../ring-guest.js'
import { ScratchShare } from '../scratch-share.js'
import type { Target } from '../target.js'

export const FD_LIMIT = 64
/** The check of every descriptor takes long, so it is made once in this many inputs. */
const INPUTS_PER_CHECK = 64

/**
 * FUSE requests over a ring, against the file system that is served. Beside its directory lies one that no request may
 * reach.
 */
export class RequestTarget implements Target {
  private readonly guest: RingGuest
  private readonly share: ScratchShare
  private readonly device: FsDevice
  private readonly bytes = new ByteSource()
  private readonly heldFds: number
  private fuzzer!: FuseFuzzer
  private requests = 0
  private inputs = 0

  /** `directory` is empty, and becomes the scratch directory; `makeDevice` makes a device for it. */
  constructor(
    readonly name: string,
    directory: string,
    makeDevice: (directory: string) => FsDevice,
  ) {
    this.share = new ScratchShare(directory)
    this.guest = new RingGuest(this.bytes, (reply) => this.fuzzer.learn(reply))
    native.umask(0)
    this.device = makeDevice(this.share.root)
    this.heldFds = countOpenFds()
  }

  run(input: Uint8Array): number {
    const { guest, device } = this
    this.requests = 0
    this.share.fill()
    this.fuzzer = new FuseFuzzer(this.bytes)
    this.submit(this.fuzzer.init())
    guest.serve(device)
    for (const record of recordsOf(input)) {
      this.bytes.begin(record)
      this.submit(this.fuzzer.next())
      if (guest.isFull || !this.bytes.oneIn(4)) guest.serve(device)
    }
    guest.serve(device)
    device.reset()
    this.share.check()
    if (++this.inputs % INPUTS_PER_CHECK === 0)
      assert.equal(countOpenFds(), this.heldFds, 'descriptors that are left')
    return this.requests
  }

  close(): void {
    this.guest.close()
  }

  private submit(request: MadeRequest): void {
    this.guest.submit(request)
    this.requests++
  }
}

/** Every option that adds code to reach is on. */
const OPTIONS = ['--allow-direct-io', '--allow-mmap', '--xattr', '--posix-acl', '--killpriv-v2']
/** With these, one thread serves all queues. */
const LOCKS = ['--posix-lock', '--flock']

/** The configuration of a share with these options, and further ones. */
export function configOf(
  directory: string,
  options: readonly string[] = [],
  locks: readonly string[] = LOCKS,
): ShareConfig {
  const words = ['--shared-dir', directory, '--socket-path', '/none', ...OPTIONS, ...locks, ...options]
  const config = parseCommandLine(words)?.configuration.shares[0]
  assert.ok(config !== undefined)
  return config
}

/** The program's own file system, on a directory. A thread can have one. */
export function makePassthrough(directory: string, config = configOf(directory)): FsDevice {
  const procFd = openPath('/proc/self/fd')
  const place = { root: directory, procFd, fdLimit: FD_LIMIT, counters: new Counters() }
  const observer = { agreed: () => {}, fault: () => {} }
  return makeFsDevice(config, place, new OpenRules(config, []), observer).device
}
