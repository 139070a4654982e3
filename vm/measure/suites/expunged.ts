/** Cases that are not run, by suite and name, and why. */
export const EXPUNGED: Readonly<Record<string, string>> = {
  'LTP flock07':
    'ends the wait for a lock by a signal, which virtio-fs does not pass on: it waits for ever where locks hold between guests',
  'xfstests generic/069': 'three million writes of four bytes: comes to no end where the guest is emulated',
}
