import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { visibleJson } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { UserError } from '../config/user-error.js'
import { type ControlRequest, MAX_LINE_LENGTH, parseRequest, tooLong } from '../control/control-request.js'
import { reload } from './reload.js'
import { replace, replaceRequestOf, type Starter } from './replace.js'
import { addShare, type Helper, removeShare } from './share-changes.js'

/** A client that asks for nothing would keep others, and SIGHUP, waiting. */
const IDLE_MS = 5000

/**
 * Serves one client of the socket for changes: lines of JSON, with one line of JSON as the answer to each, as at the
 * control socket. `clientFd` is the connected socket. Resolves when the client has left.
 */
export async function serveLiveClient(clientFd: number, helper: Helper, starter: Starter): Promise<void> {
  const socket = new Socket({ fd: clientFd, readable: true, writable: true })
  socket.on('error', () => socket.destroy())
  socket.setTimeout(IDLE_MS, () => socket.destroy())
  for await (const line of createInterface({ input: socket })) {
    if (line.trim() === '') continue
    const answer =
      line.length > MAX_LINE_LENGTH ? { ok: false, error: tooLong } : answerTo(line, helper, starter)
    socket.write(`${visibleJson(JSON.stringify(answer))}\n`)
  }
  socket.end()
}

function answerTo(line: string, helper: Helper, starter: Starter): object {
  let id: unknown
  try {
    const request = parseRequest(line)
    id = request.id
    return { id, ok: true, result: carryOut(request, helper, starter) }
  } catch (error) {
    return { id, ok: false, error: messageOf(error) }
  }
}

function carryOut({ command, share, argument }: ControlRequest, helper: Helper, starter: Starter): object {
  switch (command) {
    case 'share-add':
      if (typeof argument !== 'string') throw new UserError('share-add takes the words of --share')
      return addShare(helper, argument)
    case 'share-remove': {
      const name = argument ?? share
      if (name !== undefined && typeof name !== 'string') throw new UserError('share is a name')
      return removeShare(helper, name)
    }
    case 'reload':
      return reload(helper)
    case 'replace':
      return replace(starter, replaceRequestOf(argument))
    default:
      throw new UserError(
        `unknown command '${command}': there are share-add, share-remove, reload and replace`,
      )
  }
}
