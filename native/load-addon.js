import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const VARIABLE = 'VIRTIOFSD_TS_NATIVE'
/** Bytes of an ELF file's first page, which names its interpreter: the C library's loader. */
const PAGE_BYTES = 4096

/** Returns the C library that this Node was linked with. An addon for another one may load and then misbehave. */
function libc() {
  const page = Buffer.alloc(PAGE_BYTES)
  const fd = openSync('/proc/self/exe')
  readSync(fd, page)
  closeSync(fd)
  return page.includes('/ld-musl-') ? 'musl' : 'glibc'
}

function candidates() {
  const given = process.env[VARIABLE]
  if (given !== undefined && given !== '') return [given]
  const prebuilt = join(HERE, 'prebuilds', `${process.platform}-${process.arch}`, `native.${libc()}.node`)
  const compiled = join(HERE, 'build/native.node')
  return [prebuilt, compiled].filter((path) => existsSync(path))
}

/**
 * Returns the addon and its path. Loads the first that works: the file that VIRTIOFSD_TS_NATIVE names (and no other,
 * if it is set), the package's file for this machine, the one compiled here. Throws an Error with the code NO_ADDON
 * whose one line says what to type.
 */
export function loadAddon() {
  const require = createRequire(import.meta.url)
  let reason = `none came with the package for ${process.platform}-${process.arch}`
  for (const path of candidates()) {
    try {
      return { addon: require(path), path }
    } catch (error) {
      reason = error.message.split('\n', 1)[0]
    }
  }
  const text = `the addon is missing: ${reason}; "make -C ${HERE}" compiles it, ${VARIABLE}=FILE names another`
  throw Object.assign(new Error(text), { code: 'NO_ADDON' })
}
