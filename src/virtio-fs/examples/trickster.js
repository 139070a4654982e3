/**
 * A file system that misleads the guest's kernel on purpose, for work on fs/fuse: `--file-system ./trickster.js`. Each file
 * is one trick. `?slowMs=2000` sets the duration of the slow ones.
 */
import { setTimeout as sleep } from 'node:timers/promises'

const text = Buffer.from('0123456789abcdef'.repeat(256))
const content = (position, length) => text.subarray(position, position + length)

export default ({ slowMs = 2000 } = {}) => {
  let asked = 0
  const tricks = {
    honest: { stat: () => ({ size: text.length }), read: content },
    /** stat gives a larger size than READ finds. */
    'shorter-than-it-says': { stat: () => ({ size: 2 * text.length }), read: content },
    /** Each GETATTR gives a larger size than the one before. */
    'grows-when-looked-at': { stat: () => ({ size: ++asked, attrTimeoutSec: 0 }), read: content },
    /** The generation changes each time, so the guest takes the node for another inode. */
    'new-generation': { stat: () => ({ size: 1, generation: ++asked, entryTimeoutSec: 0 }), read: content },
    /** The node is a file at first and then a directory. */
    'changes-type': {
      stat: () => ({ type: asked++ === 0 ? 'file' : 'directory', entryTimeoutSec: 0, attrTimeoutSec: 0 }),
    },
    'says-it-has-a-billion-links': { stat: () => ({ nlink: 1e9, size: text.length }), read: content },
    'from-before-1970': { stat: () => ({ mtimeNs: -1n, size: text.length }), read: content },
    'fails-to-read': {
      stat: () => ({ size: text.length }),
      read: () => {
        throw Object.assign(new Error('on purpose'), { code: 'ESTALE' })
      },
    },
    'reads-slowly': {
      stat: () => ({ size: text.length }),
      async read(position, length, { signal }) {
        await sleep(Number(slowMs), undefined, { signal })
        return content(position, length)
      },
    },
  }
  /** Each open of one file has other FOPEN flags, so that the I/O modes of its inode meet. */
  const modes = [
    { directIo: true, parallelDio: true },
    { directIo: false },
    { directIo: true },
    { keepCache: true },
  ]
  let opens = 0
  tricks['opens-another-way-each-time'] = {
    stat: () => ({ size: text.length }),
    read: content,
    write: () => {},
    open: () => modes[opens++ % modes.length],
  }
  return {
    root: {
      async lookup(name, { signal }) {
        if (name !== 'slow-to-find') return tricks[name]
        await sleep(Number(slowMs), undefined, { signal })
        return tricks.honest
      },
      readdir: () => Object.keys(tricks),
    },
  }
}
