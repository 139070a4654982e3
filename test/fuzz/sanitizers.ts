import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const ADDON = fileURLToPath(new URL('../../../native/build/sanitized/native.node', import.meta.url))

/**
 * Memory that node never gives back is no leak of ours; everything else that the sanitizers report ends the process,
 * with SIGABRT. V8 brings a handler for SIGSEGV, which it hands on.
 */
const ASAN_OPTIONS = 'detect_leaks=0:abort_on_error=1:halt_on_error=1:allow_user_segv_handler=1'
const UBSAN_OPTIONS = 'abort_on_error=1:halt_on_error=1:print_stacktrace=1'

/** The environment in which node loads the addon that was built with sanitizers. */
export interface Sanitizers {
  readonly environment: Readonly<Record<string, string>>
}

/** Throws an Error that says what is missing. */
export function findSanitizers(): Sanitizers {
  if (!existsSync(ADDON)) throw new Error('the addon is not built with sanitizers: make sanitized')
  const library = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim()
  // gcc prints the bare name if it has no such file.
  if (!library.startsWith('/')) throw new Error('gcc has no libasan')
  return {
    environment: { VIRTIOFSD_TS_NATIVE: ADDON, LD_PRELOAD: library, ASAN_OPTIONS, UBSAN_OPTIONS },
  }
}
