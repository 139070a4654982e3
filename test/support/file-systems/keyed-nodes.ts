/** Two files whose nodes are made anew at each lookup, and known by their keys. */
import { type FileTree, file } from 'virtio-fs-ts'

export default (): FileTree => ({
  root: { readdir: () => ['a', 'b'], lookup: (name) => ({ ...file(name), key: name }) },
})
