/** ioctl(2) by the package ioctl-napi and by the addon: the same answers. */
/// <reference path="../../../src/passthrough/files/ioctl-napi.d.ts" />
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import ioctlNapi from 'ioctl-napi'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { tempDir } from '../../support/host/temp-dir.js'

const FIONREAD = 0x541b
const FS_IOC_FSGETXATTR = 0x801c_581f
const UNKNOWN = 0x8004_ff01
const { ENOTTY, EINVAL, EBADF } = os.errno

function withNapi(fd: number, request: number, argument: Buffer): number {
  try {
    return ioctlNapi(fd, request, argument)
  } catch (error) {
    return -Number((error as { code: string }).code)
  }
}

t.test("the addon's ioctl gives the same results and errors as ioctl-napi", async (t) => {
  const path = join(tempDir(t), 'file')
  writeFileSync(path, '12345')
  const fd = openSync(path, 'r')
  for (const call of [withNapi, native.ioctl]) {
    const argument = Buffer.alloc(64)
    t.equal(call(fd, FIONREAD, argument), 0)
    t.equal(argument.readUInt32LE(0), 5, 'what the kernel wrote')
    t.equal(call(fd, UNKNOWN, argument), -ENOTTY)
  }
  closeSync(fd)
  for (const call of [withNapi, native.ioctl]) t.equal(call(fd, FIONREAD, Buffer.alloc(64)), -EBADF)
})

t.test('the addon refuses an argument that the kernel would write beyond', async (t) => {
  t.equal(native.ioctl(0, FS_IOC_FSGETXATTR, Buffer.alloc(27)), -EINVAL)
  t.throws(() => native.ioctl(0, FS_IOC_FSGETXATTR, 4 as unknown as Buffer), TypeError)
})
