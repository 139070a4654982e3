/** A device, in a worker, that reads, writes and flushes a file by FileIo, on either loop. */
import { openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { type DescriptorChain, FileIo, listen, PENDING, serve, type VhostUserDevice } from 'vhost-user-ts'

/** The first byte of a request; its second to fifth are an offset in the file, little endian. */
export const Call = Object.freeze({ READ: 0, WRITE: 1, FLUSH: 2, READ_CLOSED: 3, SYNCFS: 4, ALLOCATE: 5 })
/** A request's bytes before its data. */
export const CALL_BYTES = 5
/** A reply's bytes before its data: the result. */
export const RESULT_BYTES = 4

export interface FileIoDeviceData {
  readonly socketPath: string
  readonly path: string
  readonly uring: boolean
  readonly blocking: boolean
  /** True: promises wait for a timer before they ask for anything. */
  readonly late: boolean
}

const NO_FILE = 1_000_000

class FileDevice implements VhostUserDevice {
  readonly name = 'file'
  readonly queueCount = 1
  readonly io: FileIo
  private readonly fd: number

  constructor(private readonly options: FileIoDeviceData) {
    this.io = new FileIo({ uring: options.uring, maxThreads: 2 })
    this.fd = openSync(options.path, 'r+')
  }

  process(chain: DescriptorChain): number | Promise<number> {
    const header = new Uint8Array(CALL_BYTES)
    chain.read(0, CALL_BYTES, header, 0)
    const offsetBytes = new DataView(header.buffer).getUint32(1, true)
    return this.options.blocking
      ? this.start(chain, header[0], offsetBytes)
      : this.run(chain, header[0], offsetBytes)
  }

  private start(chain: DescriptorChain, call: number, offsetBytes: number): number {
    const { io, fd } = this
    const done = (result: number) => chain.complete(this.answer(chain, call, result))
    if (call === Call.READ) io.startRead(chain, this.reading(chain, offsetBytes, fd), done)
    else if (call === Call.READ_CLOSED) io.startRead(chain, this.reading(chain, offsetBytes, NO_FILE), done)
    else if (call === Call.WRITE) io.startWrite(chain, this.writing(chain, offsetBytes), done)
    else io.startFlush(fd, done)
    return PENDING
  }

  private async run(chain: DescriptorChain, call: number, offsetBytes: number): Promise<number> {
    if (this.options.late) await new Promise((resolve) => setTimeout(resolve, 5))
    return this.answer(chain, call, await this.call(chain, call, offsetBytes))
  }

  private call(chain: DescriptorChain, call: number, offsetBytes: number): Promise<number> {
    const { io, fd } = this
    switch (call) {
      case Call.READ:
        return io.read(chain, this.reading(chain, offsetBytes, fd))
      case Call.READ_CLOSED:
        return io.read(chain, this.reading(chain, offsetBytes, NO_FILE))
      case Call.WRITE:
        return io.write(chain, this.writing(chain, offsetBytes))
      case Call.SYNCFS:
        return io.syncfs(fd)
      case Call.ALLOCATE:
        return io.fallocate(fd, 0, offsetBytes, 4096)
      default:
        return io.fdatasync(fd).then((result) => result || io.fsync(fd))
    }
  }

  private reading(chain: DescriptorChain, offsetBytes: number, fd: number) {
    return { fd, offsetBytes, lenBytes: chain.writableBytes - RESULT_BYTES, skipBytes: RESULT_BYTES }
  }

  private writing(chain: DescriptorChain, offsetBytes: number) {
    return { fd: this.fd, offsetBytes, lenBytes: chain.readableBytes - CALL_BYTES, skipBytes: CALL_BYTES }
  }

  private answer(chain: DescriptorChain, call: number, result: number): number {
    chain.write(0, RESULT_BYTES, new Uint8Array(Int32Array.of(result).buffer), 0)
    return RESULT_BYTES + (call === Call.READ && result > 0 ? result : 0)
  }
}

/** Also imported for its constants. */
if (workerData?.blocking !== undefined) {
  const options = workerData as FileIoDeviceData
  const device = new FileDevice(options)
  parentPort?.postMessage(device.io.engine)
  if (options.blocking) serve(options.socketPath, device)
  else listen(options.socketPath, device, { once: true })
}
