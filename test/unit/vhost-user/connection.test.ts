import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { Connection } from '#vhost-user/session/connection'
import {
  checkNoFdLeak,
  countOpenFds,
  eventfd,
  receiveBytes,
  sendBytes,
  socketPair,
  targetOf,
} from '../../support/device/descriptors.js'
import { bytesOf, hexOf } from '../../support/hex.js'

/** SET_FEATURES with NEED_REPLY, 8 bytes of payload. */
const SET_FEATURES = '02000000 09000000 08000000  00000070 01000000'
const GET_FEATURES = '01000000 01000000 00000000'

/** A connection and its peer's end of the socket. Both are closed afterwards, and nothing else may be open then. */
function withConnection(t: Test, use: (connection: Connection, peerFd: number) => void): void {
  checkNoFdLeak(t, () => {
    const [fd, peerFd] = socketPair()
    const connection = new Connection(fd)
    try {
      use(connection, peerFd)
    } finally {
      connection.close()
      native.close(peerFd)
    }
  })
}

/** Sends copies of `count` eventfds along with `bytes`; ours are closed again. */
function sendWithFds(peerFd: number, bytes: Uint8Array, count: number): void {
  const fds = Array.from({ length: count }, eventfd)
  sendBytes(peerFd, bytes, fds)
  for (const fd of fds) native.close(fd)
}

t.test('a message that arrives in one piece is framed', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendBytes(peerFd, bytesOf(SET_FEATURES))
    const message = connection.receive()
    t.match(message, { request: 2, flags: 9, payloadBytes: 8 })
    t.equal(message?.payload.getBigUint64(0, true), 0x1_7000_0000n)
    t.equal(connection.receive(), undefined)
    t.notOk(connection.closed, 'nothing more to read is not the end')
  })
})

t.test('a message that arrives byte by byte is framed when it is whole, and not before', async (t) => {
  withConnection(t, (connection, peerFd) => {
    const bytes = bytesOf(SET_FEATURES)
    for (const byte of bytes.subarray(0, -1)) {
      sendBytes(peerFd, Uint8Array.of(byte))
      t.equal(connection.receive(), undefined)
    }
    sendBytes(peerFd, bytes.subarray(-1))
    t.match(connection.receive(), { request: 2, payloadBytes: 8 })
  })
})

t.test('messages that arrive together are taken apart, those without a payload too', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendBytes(peerFd, bytesOf(GET_FEATURES + SET_FEATURES + GET_FEATURES))
    t.same(
      [connection.receive(), connection.receive(), connection.receive()].map((message) => message?.request),
      // One object is filled anew each time: all three are the last.
      [1, 1, 1],
    )
    t.equal(connection.receive(), undefined)
  })
})

t.test('descriptors of a message that nobody takes are closed with the next message', async (t) => {
  withConnection(t, (connection, peerFd) => {
    const before = countOpenFds()
    sendWithFds(peerFd, bytesOf(SET_FEATURES), 3)
    t.equal(connection.receive()?.fds.length, 3)
    t.equal(countOpenFds(), before + 3)
    t.equal(connection.receive(), undefined)
    t.equal(countOpenFds(), before)
  })
})

t.test('a descriptor that was taken is the caller’s, the others are closed', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendWithFds(peerFd, bytesOf(SET_FEATURES), 3)
    const message = connection.receive()
    if (message === undefined) throw new Error('no message')
    const [first, , third] = message.fds
    const taken = connection.takeFd(message, 1)
    connection.receive()
    t.match(targetOf(taken), /eventfd/)
    t.equal(targetOf(first), undefined)
    t.equal(targetOf(third), undefined)
    native.close(taken)
  })
})

t.test('descriptors that came with half a message stay until it is whole', async (t) => {
  withConnection(t, (connection, peerFd) => {
    const bytes = bytesOf(SET_FEATURES)
    sendWithFds(peerFd, bytes.subarray(0, 5), 1)
    t.equal(connection.receive(), undefined)
    sendWithFds(peerFd, bytes.subarray(5, 15), 1)
    t.equal(connection.receive(), undefined)
    sendBytes(peerFd, bytes.subarray(15))
    const message = connection.receive()
    t.equal(message?.fds.length, 2)
    for (const fd of message?.fds ?? []) t.match(targetOf(fd), /eventfd/)
  })
})

t.test('closing in the middle of a message closes its descriptors', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendWithFds(peerFd, bytesOf(SET_FEATURES).subarray(0, 14), 4)
    t.equal(connection.receive(), undefined)
  })
})

t.test('a thousand messages with surplus descriptors leave none open (CVE-2022-0669)', async (t) => {
  withConnection(t, (connection, peerFd) => {
    const before = countOpenFds()
    for (let n = 0; n < 1000; n++) {
      sendWithFds(peerFd, bytesOf(GET_FEATURES), 2)
      if (connection.receive()?.fds.length !== 2) throw new Error(`message ${n}`)
    }
    t.equal(countOpenFds(), before + 2, 'those of the last message alone')
  })
})

t.test('32 descriptors are carried, 33 end the connection', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendWithFds(peerFd, bytesOf(GET_FEATURES), 32)
    t.equal(connection.receive()?.fds.length, 32)
    sendWithFds(peerFd, bytesOf(GET_FEATURES), 33)
    t.throws(() => connection.receive(), { code: 'BAD_FRAME' })
  })
})

t.test('a flood of descriptors over many pieces of one message ends the connection', async (t) => {
  withConnection(t, (connection, peerFd) => {
    const bytes = bytesOf(SET_FEATURES)
    for (const byte of bytes.subarray(0, 4)) {
      sendWithFds(peerFd, Uint8Array.of(byte), 8)
      t.equal(connection.receive(), undefined)
    }
    sendWithFds(peerFd, bytes.subarray(4), 1)
    t.throws(() => connection.receive(), { code: 'BAD_FRAME' })
  })
})

t.test('a message of another version ends the connection', async (t) => {
  for (const flags of ['00', '02', '03', '08', '0a']) {
    withConnection(t, (connection, peerFd) => {
      sendWithFds(peerFd, bytesOf(`01000000 ${flags}000000 00000000`), 1)
      t.throws(() => connection.receive(), { code: 'BAD_FRAME' }, `flags ${flags}`)
    })
  }
})

t.test('4096 bytes of payload are taken; one more is refused before any of it is read', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendBytes(peerFd, bytesOf('05000000 01000000 00100000'))
    sendBytes(peerFd, new Uint8Array(4096).fill(0xaa))
    const message = connection.receive()
    t.equal(message?.payloadBytes, 4096)
    t.equal(message?.payload.getUint8(4095), 0xaa)
    sendBytes(peerFd, bytesOf('05000000 01000000 01100000'))
    t.throws(() => connection.receive(), { code: 'BAD_FRAME' })
  })
})

t.test('a size of 4 GiB is refused', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendBytes(peerFd, bytesOf('05000000 01000000 ffffffff'))
    t.throws(() => connection.receive(), { code: 'BAD_FRAME' })
  })
})

t.test('the end of the stream closes, in the middle of a message too', async (t) => {
  for (const lenBytes of [0, 5, 12, 17]) {
    checkNoFdLeak(t, () => {
      const [fd, peerFd] = socketPair()
      const connection = new Connection(fd)
      sendBytes(peerFd, bytesOf(SET_FEATURES).subarray(0, lenBytes))
      native.close(peerFd)
      t.equal(connection.receive(), undefined)
      t.ok(connection.closed, `after ${lenBytes} bytes`)
      connection.close()
    })
  }
})

t.test('messages that arrived before the peer left are still read', async (t) => {
  checkNoFdLeak(t, () => {
    const [fd, peerFd] = socketPair()
    const connection = new Connection(fd)
    sendBytes(peerFd, bytesOf(SET_FEATURES))
    native.close(peerFd)
    t.equal(connection.receive()?.request, 2)
    t.equal(connection.receive(), undefined)
    t.ok(connection.closed)
    connection.close()
  })
})

t.test('a closed connection receives nothing more', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendBytes(peerFd, bytesOf(SET_FEATURES))
    connection.closed = true
    t.equal(connection.receive(), undefined)
  })
})

t.test('send puts header and payload on the wire in one piece, with its descriptors', async (t) => {
  withConnection(t, (connection, peerFd) => {
    connection.body.setBigUint64(0, 0x1_7000_0000n, true)
    t.ok(connection.send(2, 5, 8))
    t.equal(hexOf(receiveBytes(peerFd)), hexOf(bytesOf('02000000 05000000 08000000  00000070 01000000')))
    const peer = new Connection(native.dup(peerFd))
    const fd = eventfd()
    t.ok(connection.send(12, 9, 8, Int32Array.of(fd)))
    const message = peer.receive()
    t.equal(message?.fds.length, 1)
    t.match(targetOf(message?.fds[0] ?? -1), /eventfd/)
    t.match(targetOf(fd), /eventfd/, 'the sender keeps its own')
    native.close(fd)
    peer.close()
  })
})

t.test(
  'a peer that is gone, or that does not read, closes the connection instead of blocking it',
  async (t) => {
    checkNoFdLeak(t, () => {
      const [fd, peerFd] = socketPair()
      const connection = new Connection(fd)
      native.close(peerFd)
      t.notOk(connection.send(1, 5, 8))
      t.ok(connection.closed)
      connection.close()
    })
    withConnection(t, (connection) => {
      let sent = 0
      while (sent < 100_000 && connection.send(1, 5, 4096)) sent++
      t.ok(sent > 0 && sent < 100_000, 'the socket was full at some time')
      t.ok(connection.closed)
    })
  },
)

t.test('blocking receive waits for a whole message', async (t) => {
  withConnection(t, (connection, peerFd) => {
    sendBytes(peerFd, bytesOf(SET_FEATURES))
    t.equal(connection.receive(true)?.request, 2)
  })
})
