import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { CommandError, runCommand } from '../../host/command.js'
import { SetupError } from '../../host/setup-error.js'
import { cacheRoot } from '../../packages/cache.js'
import { findTree, hashOf } from './build-kernel.js'

/** A cached worktree of a kernel's repository. Other commits are built in it, and the user's tree stays unchanged. */
export class Worktree {
  private constructor(
    readonly path: string,
    private readonly source: string,
  ) {}

  /** Makes the worktree, or finds the existing one. */
  static async of(tree: string): Promise<Worktree> {
    const source = findTree(tree)
    // A repository that only contains the tree as a subfolder does not count.
    const top = await git(source, ['rev-parse', '--show-toplevel'])
    if (top.trim() !== source) throw new SetupError(`${tree} is no git repository of its own`)
    const path = join(cacheRoot(), 'lab-trees', hashOf(source))
    if (!existsSync(join(path, '.git'))) {
      await git(source, ['worktree', 'prune'])
      await git(source, ['worktree', 'add', '--detach', path])
    }
    return new Worktree(path, source)
  }

  /** Resolves a revision in the user's tree (HEAD is that tree's) to a full commit name. Throws SetupError if unknown. */
  async nameOf(revision: string): Promise<string> {
    return (await git(this.source, ['rev-parse', '--verify', `${revision}^{commit}`])).trim()
  }

  async checkOut(revision: string): Promise<void> {
    const commit = await this.nameOf(revision)
    await this.git(['checkout', '--quiet', '--force', '--detach', commit])
  }

  git(args: string[]): Promise<string> {
    return git(this.path, args)
  }
}

async function git(dir: string, args: string[]): Promise<string> {
  try {
    return await runCommand('git', ['-C', dir, ...args])
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    throw new SetupError(`git ${args[0]}: ${error.stderr.split('\n')[0]}`)
  }
}
