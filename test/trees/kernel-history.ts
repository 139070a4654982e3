import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../vm/host/command.js'
import { fetchKernelSource } from '../../vm/lab/tree/kernel-source.js'
import { cached } from '../../vm/packages/cache.js'

/** One commit: a piece of text in a file of fs/fuse, and what replaces it. */
interface Step {
  readonly subject: string
  readonly file: string
  readonly before: string
  readonly after: string
}

/** The first commit of the history, and its last one. */
export const GOOD = 'good'
export const BAD = 'bad'
/** The commit that changes what overlap/append observes. */
export const CULPRIT = 'fuse: appends do not need the whole lock'
/** Commits that a bisection has to skip. */
export const SKIPPED = {
  doesNotBuild: 'fuse: count the opens',
  doesNotBoot: 'fuse: insist on a state',
} as const

const APPENDS = 'if (iocb->ki_flags & IOCB_APPEND)'
const REGISTERED = 'INIT_LIST_HEAD(&fuse_conn_list);'

/** Bisection looks at the fourth commit first, which does not build. */
const STEPS: readonly Step[] = [
  comment('fuse: say where modes are', 'iomode.c', ' * FUSE inode io modes.'),
  comment('fuse: say what dir.c is', 'dir.c', 'FUSE: Filesystem in Userspace'),
  comment('fuse: say what file.c is', 'file.c', 'FUSE: Filesystem in Userspace'),
  {
    subject: SKIPPED.doesNotBuild,
    file: 'inode.c',
    before: REGISTERED,
    after: `${REGISTERED}\n\tfuse_open_count = 0;`,
  },
  {
    subject: 'fuse: do not count the opens',
    file: 'inode.c',
    before: '\n\tfuse_open_count = 0;',
    after: '',
  },
  {
    subject: CULPRIT,
    file: 'file.c',
    before: APPENDS,
    after: 'if ((iocb->ki_flags & IOCB_APPEND) && !(ff->open_flags & FOPEN_DIRECT_IO))',
  },
  {
    subject: SKIPPED.doesNotBoot,
    file: 'inode.c',
    before: REGISTERED,
    after: `${REGISTERED}\n\tBUG_ON(list_empty(&fuse_conn_list));`,
  },
  {
    subject: 'fuse: do not insist',
    file: 'inode.c',
    before: '\n\tBUG_ON(list_empty(&fuse_conn_list));',
    after: '',
  },
]

function comment(subject: string, file: string, before: string): Step {
  return { subject, file, before, after: `${before} See Documentation/filesystems/fuse.rst.` }
}

/** A commit beside the history, with faults that only a kernel of FLAVOUR=debug reports. */
export const FAULTY = 'faulty'

/** Each has a path of its own: a report of lockdep or KASAN is the last one of its kind. */
const FAULTS: readonly Step[] = [
  {
    subject: 'fuse: take two locks in either order at setattr',
    file: 'dir.c',
    before: '	if (attr->ia_valid & ATTR_SIZE) {\n		if (WARN_ON(!S_ISREG(inode->i_mode)))',
    after: [
      '	spin_lock(&fi->lock);',
      '	spin_lock(&fc->lock);',
      '	spin_unlock(&fc->lock);',
      '	spin_unlock(&fi->lock);',
      '	spin_lock(&fc->lock);',
      '	spin_lock(&fi->lock);',
      '	spin_unlock(&fi->lock);',
      '	spin_unlock(&fc->lock);',
      '	if (attr->ia_valid & ATTR_SIZE) {\n		if (WARN_ON(!S_ISREG(inode->i_mode)))',
    ].join('\n'),
  },
  {
    subject: 'fuse: sleep under a lock at fsync',
    file: 'file.c',
    before: '	inarg.fsync_flags = datasync',
    after: [
      '	spin_lock(&get_fuse_inode(inode)->lock);',
      '	might_sleep();',
      '	spin_unlock(&get_fuse_inode(inode)->lock);',
      '	inarg.fsync_flags = datasync',
    ].join('\n'),
  },
  {
    subject: 'fuse: read behind the end of an object at symlink',
    file: 'dir.c',
    before: '	args.opcode = FUSE_SYMLINK;',
    after: [
      '	{',
      '		char *small = kmalloc(9, GFP_KERNEL);',
      '',
      '		(void)READ_ONCE(small[12]);',
      '		kfree(small);',
      '	}',
      '	args.opcode = FUSE_SYMLINK;',
    ].join('\n'),
  },
  {
    subject: 'fuse: lose memory at unlink',
    file: 'dir.c',
    before: '	args.opcode = FUSE_UNLINK;',
    after: '	WRITE_ONCE(*(char *)kmalloc(72, GFP_KERNEL), 1);\n	args.opcode = FUSE_UNLINK;',
  },
]

/** Returns a repository with Debian's Linux 6.12 as its first commit and STEPS on top. It stays in the cache. */
export async function makeKernelHistory(): Promise<string> {
  const repository = await cached('lab-history', async (dir) => {
    await runCommand('cp', ['-a', `${await fetchKernelSource()}/.`, dir])
    await git(dir, ['init', '--quiet'])
    await git(dir, ['config', 'gc.auto', '0'])
    // The kernel's .gitignore names files that Debian's archive has.
    await git(dir, ['add', '--all', '--force'])
    await commit(dir, "Debian's Linux", GOOD, 1)
  })
  // The steps may have changed since the first commit was made, which takes longest.
  await build(repository, FAULTS, FAULTY)
  await build(repository, STEPS, BAD)
  return repository
}

/** Makes a commit of each step, from the first commit on, and tags the last. */
async function build(repository: string, steps: readonly Step[], tag: string): Promise<void> {
  await git(repository, ['checkout', '--quiet', '--force', '--detach', GOOD])
  for (const [n, { subject, file, before, after }] of steps.entries()) {
    const path = join(repository, 'fs/fuse', file)
    const text = readFileSync(path, 'utf8')
    if (text.split(before).length !== 2) throw new Error(`${subject}: not once in ${file}: ${before}`)
    writeFileSync(
      path,
      text.replace(before, () => after),
    )
    await commit(repository, subject, tag, n + 2)
  }
}

/** Commits everything. With fixed dates, a history has the same commits each time. */
async function commit(dir: string, message: string, tag: string, day: number): Promise<void> {
  const author = ['-c', 'user.name=The lab', '-c', 'user.email=lab@example.org']
  const date = `2026-01-${String(day).padStart(2, '0')}T00:00:00Z`
  await git(dir, [...author, 'commit', '--all', '--quiet', '--message', message], {
    GIT_AUTHOR_DATE: date,
    GIT_COMMITTER_DATE: date,
  })
  await git(dir, ['tag', '--force', tag])
}

function git(dir: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  return runCommand('git', ['-C', dir, ...args], { env })
}
