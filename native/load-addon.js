import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { workerData } from 'node:worker_threads'

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

/** Takes the addon that another thread has loaded from `path`. The file itself may be out of reach by now. */
function loadedAddon(path) {
  const module = { exports: {} }
  process.dlopen(module, path)
  return { addon: module.exports, path }
}

function candidates(here) {
  const given = process.env[VARIABLE]
  if (given !== undefined && given !== '') return [given]
  const prebuilt = join(here, 'prebuilds', `${process.platform}-${process.arch}`, `native.${libc()}.node`)
  const compiled = join(here, 'build/native.node')
  return [prebuilt, compiled].filter((path) => existsSync(path))
}

/**
 * Returns the addon and its path. Loads the first that works: the file that VIRTIOFSD_TS_NATIVE names (and no other,
 * if it is set), the package's file for this machine, the one compiled here. A worker whose data has a `nativePath` takes
 * the addon that is loaded under this name. Throws an Error with the code NO_ADDON
 * whose one line says what to type.
 */
export function loadAddon() {
  if (workerData?.nativePath !== undefined) return loadedAddon(workerData.nativePath)
  const here = fileURLToPath(new URL('.', import.meta.url))
  const require = createRequire(import.meta.url)
  let reason = `none came with the package for ${process.platform}-${process.arch}`
  for (const path of candidates(here)) {
    try {
      return { addon: require(path), path }
    } catch (error) {
      reason = error.message.split('\n', 1)[0]
    }
  }
  const text = `the addon is missing: ${reason}; "make -C ${here}" compiles it, ${VARIABLE}=FILE names another`
  throw Object.assign(new Error(text), { code: 'NO_ADDON' })
}
