/** What the lab compares of a case's files: bytes and sizes on both sides, offsets and lengths of WRITEs. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { FUSE_WRITE_CACHE, Opcode } from 'virtio-fs-ts/protocol'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { FileModel, patternBytes } from '../../vm/lab/file-model.js'

const write = (offsetBytes: number, sizeBytes: number, detailFlags = 0): TimedRequest =>
  ({ epochMs: 0, request: { opcode: Opcode.WRITE, offsetBytes, sizeBytes, detailFlags } }) as TimedRequest

t.test('bytes and size on the host are compared', async (t) => {
  const model = new FileModel(Buffer.alloc(10, 1))
  model.fill(8, 4, 2)
  t.same(model.faultsOf(Buffer.from('010101010101010102020202', 'hex')), [])
  t.same(model.faultsOf(Buffer.from('010101010101010102020302', 'hex')), [
    '1 bytes wrong on the host, from 10 on',
  ])
  t.same(model.faultsOf(Buffer.alloc(10, 1)), ['10 bytes on the host instead of 12'])
})

t.test('appended blocks may come in any order, and each has to come once', async (t) => {
  const [a, b] = [Buffer.alloc(4, 7), Buffer.alloc(4, 8)]
  const makeModel = (): FileModel => {
    const model = new FileModel(Buffer.alloc(2, 1))
    for (const block of [a, b]) model.append(block)
    return model
  }
  const start = Buffer.alloc(2, 1)
  t.same(makeModel().faultsOf(Buffer.concat([start, b, a])), [])
  t.same(makeModel().faultsOf(Buffer.concat([start, a, b])), [])
  t.same(makeModel().faultsOf(Buffer.concat([start, a, a])), ['4 bytes wrong on the host, from 6 on'])
})

t.test('the size and the bytes that the guest sees are compared', async (t) => {
  const bytes = Buffer.alloc(100, 1)
  const model = new FileModel(bytes)
  const md5 = createHash('md5').update(bytes).digest('hex')
  t.same(model.guestFaultsOf({ sizeBytes: 100, md5 }), [])
  t.same(model.guestFaultsOf({ sizeBytes: 99, md5 }), ['99 bytes in the guest instead of 100'])
  t.same(model.guestFaultsOf({ sizeBytes: 100, md5: '' }), ['other bytes in the guest'])
  model.comparesGuest = false
  t.same(model.guestFaultsOf({ sizeBytes: 99, md5 }), [])
})

t.test('WRITEs past the page cache are compared when a case names them', async (t) => {
  const model = new FileModel(Buffer.alloc(0))
  t.same(model.writeFaultsOf([write(0, 10)]), [], 'it has not said')
  model.expectWrite(0, 10)
  model.expectWrite(10, 10)
  t.same(model.writeFaultsOf([write(10, 10), write(0, 10), write(0, 4096, FUSE_WRITE_CACHE)]), [])
  t.same(model.writeFaultsOf([write(0, 10), write(0, 10)]), ['no WRITE 10@10', 'needless WRITE 10@0'])
  const many = Array.from({ length: 6 }, (_, n) => write(n, 1))
  t.match(model.writeFaultsOf(many)[1], /^needless WRITE 1@0 1@1 1@2 1@3 and 2 more$/)
})

t.test('no two pages or requests of a pattern are alike', async (t) => {
  const pages = Array.from({ length: 600 }, (_, n) => patternBytes(n * 4096, 4096, 3).toString('latin1'))
  for (const [n, page] of pages.entries()) t.not(page, pages[n + 1])
  t.not(patternBytes(0, 4096, 3).toString(), patternBytes(1 << 20, 4096, 3).toString())
  t.same(patternBytes(5000, 10, 1), patternBytes(0, 6000, 1).subarray(5000, 5010))
})
