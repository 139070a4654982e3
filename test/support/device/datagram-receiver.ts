import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

/** Node lacks datagram sockets in the file system. This program prints each message as a line of JSON. */
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('"bound"', flush=True)
while True:
    print(json.dumps(s.recv(65536).decode()), flush=True)
`

/** Receives at `path` until it is killed or the test ends. */
export async function receiveDatagrams(
  t: Test,
  path: string,
): Promise<{ next(): Promise<string>; kill(): void }> {
  const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => receiver.kill())
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value) as string
  t.equal(await next(), 'bound')
  return { next, kill: () => void receiver.kill('SIGKILL') }
}
