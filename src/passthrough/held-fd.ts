import * as native from 'virtiofsd-ts-native'

/** A descriptor that stays open while system calls on it are under way, also when the guest has given it back. */
export class HeldFd {
  private users = 1

  constructor(readonly fd: number) {}

  /** One more system call is under way. */
  hold(): void {
    this.users++
  }

  /** A system call has returned, or the guest has given the descriptor back. */
  release(): void {
    if (--this.users === 0) native.close(this.fd)
  }
}
