import type { CacheChoices } from 'virtio-fs-ts/protocol'
import type { OptionValues } from './option-values.js'

/** Picks the options that choose what the guest caches. */
export function cacheChoices(given: OptionValues): Partial<CacheChoices> {
  return onlyDefined<CacheChoices>({
    cache: given.get('cache'),
    directIo: given.get('direct-io'),
    parallelDio: given.get('parallel-dio'),
    keepCache: given.get('keep-cache'),
    noflush: given.get('noflush'),
    entryTimeoutSec: given.get('entry-timeout'),
    attrTimeoutSec: given.get('attr-timeout'),
    negativeTimeoutSec: given.get('negative-timeout'),
  })
}

function onlyDefined<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): Partial<T> {
  // Omits undefined fields: exactOptionalPropertyTypes forbids them in a Partial.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>
}
