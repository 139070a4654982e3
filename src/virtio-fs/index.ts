/** The virtio-fs device: a file system in TypeScript, mounted by a virtual machine. */
export { fsConfig } from './fs-config.js'
export { FsDevice, type FsDeviceParts, type Interposer, QUEUE_COUNT } from './fs-device.js'
