/** Cases that are not run, by suite and name, and why. */
export const EXPUNGED: Readonly<Record<string, string>> = {
  'xfstests generic/069': 'three million writes of four bytes: comes to no end where the guest is emulated',
}
