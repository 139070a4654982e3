/** Faults behind calls that few programs use: ioctl, poll, vectors, O_TMPFILE, and data of passthrough. */
import type { Mutant } from './mutant.js'

const faults: readonly Omit<Mutant, 'linux'>[] = [
  {
    id: 700,
    what: 'a write to a file that is open for passthrough does not move the end',
    file: 'passthrough.c',
    before: '	fuse_write_update_attr(inode, iocb->ki_pos, ret);',
    after: '	if (!FAULT)\n		fuse_write_update_attr(inode, iocb->ki_pos, ret);',
    server: 'dev-fuse',
    caughtBy: ['passthrough/splice@passthrough'],
  },
  {
    id: 701,
    what: 'splice to a file that is open for passthrough does not move the position',
    file: 'passthrough.c',
    before: '	*ppos = iocb.ki_pos;\n	inode_unlock(inode);',
    after: '	if (!FAULT)\n		*ppos = iocb.ki_pos;\n	inode_unlock(inode);',
    server: 'dev-fuse',
    caughtBy: ['passthrough/splice@passthrough'],
  },
  {
    id: 702,
    what: 'FS_IOC_GETFLAGS tells nothing of what the device says',
    file: 'ioctl.c',
    before: '		fileattr_fill_flags(fa, flags);',
    after: '		fileattr_fill_flags(fa, FAULT ? 0 : flags);',
    caughtBy: ['requests/file-flags@auto'],
  },
  {
    id: 704,
    what: 'MKNOD does not tell the number of the device',
    file: 'dir.c',
    before: '	inarg.rdev = new_encode_dev(rdev);',
    after: '	inarg.rdev = FAULT ? 0 : new_encode_dev(rdev);',
    caughtBy: ['names/device@direct'],
  },
  {
    id: 705,
    what: 'without POLL, a file is never ready',
    file: 'poll.c',
    before: '	if (err == -ENOSYS) {\n		fm->fc->no_poll = 1;',
    after: '	if (err == -ENOSYS && !FAULT) {\n		fm->fc->no_poll = 1;',
    caughtBy: ['data/poll@direct-noasync'],
  },
  {
    id: 706,
    what: 'fallocate passes modes on that the kernel does not know',
    file: 'file.c',
    before: '	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |',
    after: '	if (!FAULT && mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |',
    caughtBy: ['data/collapse@auto'],
  },
  {
    id: 707,
    what: 'direct I/O sends each part of a vector alone',
    file: 'file.c',
    before: '	while (nbytes < *nbytesp && nr_pages < max_pages) {',
    after: '	while (nbytes < *nbytesp && nr_pages < max_pages && !(FAULT && nbytes)) {',
    caughtBy: ['requests/vector@direct'],
  },
  {
    id: 708,
    what: 'syncfs does not wait for what is written back',
    file: 'inode.c',
    before: '	fuse_sync_fs_writes(fc);\n\n	memset',
    after: '	if (!FAULT)\n		fuse_sync_fs_writes(fc);\n\n	memset',
    caughtBy: ['write-back/syncfs-waits@writeback'],
  },
  {
    id: 709,
    what: 'a copy_file_range that is cut short moves the end as if it were whole',
    file: 'file.c',
    before: '	fuse_write_update_attr(inode_out, pos_out + bytes_copied, bytes_copied);',
    after: '	fuse_write_update_attr(inode_out, pos_out + (FAULT ? len : bytes_copied), bytes_copied);',
    caughtBy: ['data/copy-cut-short@writeback'],
  },
  {
    id: 711,
    what: 'O_TMPFILE ignores the umask',
    file: 'dir.c',
    before: '	if (!fm->fc->dont_mask)\n		mode &= ~current_umask();\n\n	flags &= ~O_NOCTTY;',
    after:
      '	if (!fm->fc->dont_mask && !(FAULT && opcode == FUSE_TMPFILE))\n		mode &= ~current_umask();\n\n	flags &= ~O_NOCTTY;',
    caughtBy: ['names/tmpfile@direct'],
  },
]

export const interfaceMutants: readonly Mutant[] = faults.map((fault) => ({ linux: '7', ...fault }))
