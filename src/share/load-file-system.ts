import { pathToFileURL } from 'node:url'
import type { FileTree } from 'virtio-fs-ts'
import type { FileSystem } from 'virtio-fs-ts/protocol'

/** A module that makes a file system, and the options that it is handed: `./my-fs.js?option=value`. */
export interface FileSystemModule {
  readonly path: string
  readonly options: Readonly<Record<string, string>>
}

/** The arguments of a module's function, besides its options. */
export interface ModulePlace {
  /** The directory given to be shared, as the process sees it before it is confined. */
  readonly sharedDir: string | undefined
}

/** The default export of a module: a file system, or a function that makes one. */
type Exported =
  | FileTree
  | FileSystem
  | ((options: FileSystemModule['options'], place: ModulePlace) => FileTree | FileSystem | Promise<FileTree>)

/** Imports a module. Only the error of a module that nobody imports has the place of a wrong word. */
async function importModule(path: string): Promise<object> {
  try {
    return await import(pathToFileURL(path).href)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new SyntaxError(`${path}: ${error.message}; "node ${path}" shows where`)
  }
}

/** Loads a module and makes its file system. Rejects with the module's error, or with TypeError. */
export async function loadFileSystem(
  { path, options }: FileSystemModule,
  place: ModulePlace,
): Promise<FileTree | FileSystem> {
  const { default: exported } = (await importModule(path)) as { default?: Exported }
  if (exported === undefined)
    throw new TypeError(`${path} has no default export, such as export default () => ({ root })`)
  return typeof exported === 'function' ? await exported(options, place) : exported
}
