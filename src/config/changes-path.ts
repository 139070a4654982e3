/**
 * The socket at which `ctl` asks for changes, beside the control socket. It leads to the broker, which sees the host, and
 * not to the process that serves guests: so what a guest takes over cannot ask for anything.
 */
export function changesPath(controlSocket: string): string {
  return `${controlSocket}.live`
}
