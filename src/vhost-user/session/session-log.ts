import * as native from 'virtiofsd-ts-native'
import { DirtyLog, type LeftOutMarks } from '../memory/dirty-log.js'
import type { RingSet } from '../rings/ring-set.js'
import { type Connection, expect, type Message } from './connection.js'
import { LogBase } from './wire.js'

/**
 * The dirty log of a connection. It is in use while the front-end has given one and VHOST_F_LOG_ALL is set, in either
 * order and while rings run. It stays mapped until another one comes.
 */
export class SessionLog {
  private log: DirtyLog | undefined
  /** VHOST_F_LOG_ALL is set. */
  logsAll = false
  /** The front-end has given a log, and has not said since whether it is to be used. */
  private isAnnounced = false
  private callFd = -1

  constructor(
    private readonly connection: Connection,
    private readonly rings: RingSet,
    private readonly leftOut: LeftOutMarks,
  ) {}

  /** SET_LOG_BASE. Throws ProtocolError BAD_LOG if the log cannot be mapped or has too few bits. */
  setBase(message: Message): void {
    expect(message, LogBase.BYTES, 1)
    const { payload, fds } = message
    const log = new DirtyLog(
      fds[0],
      LogBase.sizeBytes(payload),
      LogBase.fileOffsetBytes(payload),
      this.leftOut,
    )
    try {
      log.mustCover(this.rings.memory.endGpa)
      if (this.logsAll) this.rings.logTo(log)
    } catch (error) {
      log.close()
      throw error
    }
    this.log?.close()
    this.log = log
    this.isAnnounced = true
  }

  /** SET_LOG_FD: takes the descriptor. The front-end reads the log by itself, so it is never signalled. */
  setFd(message: Message): void {
    expect(message, 0, 1)
    if (this.callFd >= 0) native.close(this.callFd)
    this.callFd = this.connection.takeFd(message, 0)
  }

  /** SET_FEATURES with or without VHOST_F_LOG_ALL. Throws ProtocolError BAD_LOG if the log has too few bits. */
  setAll(logsAll: boolean): void {
    const { log, rings } = this
    if (logsAll) log?.mustCover(rings.memory.endGpa)
    rings.logTo(logsAll ? log : undefined)
    this.logsAll = logsAll
    this.isAnnounced = false
  }

  /** True while writes are marked, or are going to be: the front-end migrates the guest. */
  get isInUse(): boolean {
    return this.logsAll || this.isAnnounced
  }

  /** True if the front-end has truncated the log, and a mark was lost. */
  get isLost(): boolean {
    return this.log?.isLost === true
  }

  /** Unmaps the log. The rings must have been stopped. */
  close(): void {
    this.rings.logTo(undefined)
    this.log?.close()
    this.log = undefined
    if (this.callFd >= 0) native.close(this.callFd)
    this.callFd = -1
  }
}
