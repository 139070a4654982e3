/** The package ioctl-napi, which comes without types. */
declare module 'ioctl-napi' {
  /** ioctl(2). Throws an Error whose `code` is the errno in decimal digits. */
  export default function ioctl(fd: number, request: number, argument: Buffer | number): number
}
