import type { QuotaLimits } from '../passthrough/quota/quota-ledger.js'
import type { ShareConfig } from './share-config.js'

/** The quota for which the share counts its tree; undefined: none. A guest that changes nothing needs no quota. */
export function countedQuota({ readonly, quota }: ShareConfig): QuotaLimits | undefined {
  return readonly ? undefined : quota
}
