import type { Connection, Message } from './connection.js'
import { ProtocolError } from './errors.js'
import type { Logger } from './logger.js'

/** A front-end that sends without end must not keep the rings waiting. */
const MESSAGES_PER_TURN = 32

/**
 * Hands the messages that have arrived to `handle`, until there are no more or it returns false. A front-end that cannot
 * be followed is disconnected.
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
