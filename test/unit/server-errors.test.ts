/** A connection that the host cannot accept, for want of memory, does not end the process. */
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { serveControl } from '../../src/control/control-server.js'
import { serveMetrics } from '../../src/metrics/metrics-server.js'
import { tempDir } from '../support/host/temp-dir.js'

t.test('a failing accept does not end the servers of control and metrics', async (t) => {
  const listen = () => native.unixListen(join(tempDir(t), 's'), 0o600)
  const servers = [serveControl(listen(), undefined as never), serveMetrics(listen(), async () => [])]
  for (const server of servers) {
    // Node passes the error of accept(2) on in this way: see onconnection in its lib/net.js.
    t.doesNotThrow(() => server.emit('error', new Error('accept ENOMEM')))
    server.close()
  }
})
