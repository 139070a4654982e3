/** A device that is served on the same thread as others. */
export interface Neighbour {
  /** Requests that wait on its rings. */
  readonly waitingCount: number
}

/** How many others are looked at each time; then it is the next ones' turn to be looked at. */
const LOOKS = 16

/** The devices with a front-end that are served on one thread: they take turns, a batch of requests each. */
export class Neighbours {
  private readonly all: Neighbour[] = []
  private next = 0

  join(neighbour: Neighbour): void {
    this.all.push(neighbour)
  }

  leave(neighbour: Neighbour): void {
    const at = this.all.indexOf(neighbour)
    if (at >= 0) this.all.splice(at, 1)
  }

  /** True if a device is not alone here. */
  get areSeveral(): boolean {
    return this.all.length > 1
  }

  /** Returns true if another one has requests to serve. Of very many, it looks at some each time. */
  wait(own: Neighbour): boolean {
    const { all } = this
    for (let n = Math.min(all.length, LOOKS); n > 0; n--) {
      if (this.next >= all.length) this.next = 0
      const other = all[this.next++]
      if (other !== own && other.waitingCount > 0) return true
    }
    return false
  }
}
