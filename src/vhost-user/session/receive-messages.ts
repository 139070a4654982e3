import { ProtocolError } from '../errors.js'
import type { Logger } from '../logger.js'
import type { Connection, Message } from './connection.js'

/** A limit, so that a front-end that sends without end cannot keep the rings waiting. */
const MESSAGES_PER_TURN = 32

/**
 * Hands received messages to `handle`, until there are no more or it returns false. Disconnects a front-end whose
 * messages cannot be parsed.
 */
export function receiveMessages(
  connection: Connection,
  log: Logger,
  handle: (message: Message) => boolean,
): void {
  try {
    for (let n = 0; n < MESSAGES_PER_TURN; n++) {
      const message = connection.receive()
      if (message === undefined || !handle(message)) return
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    const fields = { code: error.code, reason: error.message }
    log.error(fields, 'vhost-user connection cannot be followed: closed')
    connection.closed = true
  }
}
