import { version } from '../config/command-line.js'
import type { ReportedShare } from '../control/share-reports.js'
import { serveMetrics } from './metrics-server.js'
import { ProcessFamilies } from './process-families.js'
import { shareFamilies } from './share-families.js'

/** Serves metrics once everything is loaded. */
export interface MetricsService {
  /** Takes over a socket that listens. `reports` is asked at each request. */
  serve(listenFd: number, reports: () => Promise<readonly ReportedShare[]>): void
}

/** Reads what is out of reach once this process is confined. */
export function loadMetrics(): MetricsService {
  const process = new ProcessFamilies(version())
  return {
    serve: (listenFd, reports) => {
      serveMetrics(listenFd, async () => [...shareFamilies(await reports()), ...process.families()])
    },
  }
}
