/** The front-end's half of vhost-user, with enough of a guest to drive a device: for tests and tools. */
export { ProtocolError, SystemCallError } from '../errors.js'
export { FrontendRequest } from '../protocol.js'
export { type Buffer, DriverVirtqueue, type Used } from './driver-virtqueue.js'
export { Frontend, type FrontendOptions } from './frontend.js'
export { DirtyPages, loadState, saveState } from './migration.js'
