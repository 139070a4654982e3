/** Faults in the guest's reaction to errors and short replies, and in its requests afterwards. */
import type { Mutant } from './mutant.js'

export const errorMutants: readonly Mutant[] = [
  {
    id: 300,
    what: 'a page counts as read although the READ failed',
    file: 'file.c',
    before: 'folio_end_read(folio, !err);',
    after: 'folio_end_read(folio, !err || FAULT);',
    caughtBy: ['errors/read@auto'],
  },
  {
    id: 301,
    what: 'a short reply to a cached read leaves the old size',
    file: 'file.c',
    before: '		fuse_read_update_size(inode, pos, attr_ver);',
    after: '		if (!FAULT)\n			fuse_read_update_size(inode, pos, attr_ver);',
    caughtBy: ['errors/shrunk@always'],
  },
  {
    id: 302,
    what: 'a failed write beyond the end leaves what came of it',
    file: 'file.c',
    before: 'if (ret < 0 && offset + count > i_size)',
    after: 'if (ret < 0 && offset + count > i_size && !FAULT)',
    caughtBy: ['errors/extension@auto'],
  },
  {
    id: 303,
    what: 'close hides the error of what it wrote back',
    file: 'file.c',
    before: '	err = filemap_check_errors(file->f_mapping);\n	if (err)\n		return err;\n\n	err = 0;',
    after:
      '	err = filemap_check_errors(file->f_mapping);\n	if (err && !FAULT)\n		return err;\n\n	err = 0;',
    caughtBy: ['errors/close@writeback'],
  },
  {
    id: 304,
    what: 'write-back does not tell times',
    file: 'dir.c',
    before: '	inarg.valid = FATTR_MTIME;\n	inarg.mtime = inode_get_mtime_sec(inode);',
    after:
      '	if (FAULT)\n		return 0;\n	inarg.valid = FATTR_MTIME;\n	inarg.mtime = inode_get_mtime_sec(inode);',
    caughtBy: ['data/times@writeback'],
  },
  {
    id: 305,
    what: 'fallocate moves the end in spite of FALLOC_FL_KEEP_SIZE',
    file: 'file.c',
    before: '	/* we could have extended the file */\n	if (!(mode & FALLOC_FL_KEEP_SIZE)) {',
    after: '	/* we could have extended the file */\n	if (FAULT || !(mode & FALLOC_FL_KEEP_SIZE)) {',
    caughtBy: ['data/keep-size@writeback'],
  },
  {
    id: 306,
    what: 'copy_file_range does not move the end of the target',
    file: 'file.c',
    before: '	fuse_write_update_attr(inode_out, pos_out + outarg.size, outarg.size);',
    after: '	if (!FAULT)\n		fuse_write_update_attr(inode_out, pos_out + outarg.size, outarg.size);',
    caughtBy: ['data/copy-beyond@always'],
  },
  {
    id: 307,
    what: 'statfs tells free blocks as all blocks',
    file: 'inode.c',
    before: '	stbuf->f_blocks  = attr->blocks;',
    after: '	stbuf->f_blocks  = FAULT ? attr->bfree : attr->blocks;',
    caughtBy: ['names/statfs@direct'],
  },
  {
    id: 308,
    what: 'a cached listing has what fits into a page',
    file: 'readdir.c',
    before:
      "	/* Dirent doesn't fit in current page?  Jump to next page. */\n	if (offset + reclen > PAGE_SIZE) {",
    after:
      "	/* Dirent doesn't fit in current page?  Jump to next page. */\n	if (FAULT && offset + reclen > PAGE_SIZE) {\n		fi->rdc.pos = dirent->off;\n		spin_unlock(&fi->rdc.lock);\n		return;\n	}\n	if (offset + reclen > PAGE_SIZE) {",
    caughtBy: ['names/list@always'],
  },
  {
    id: 309,
    what: 'a cached write by a user does not ask to drop setuid',
    file: 'file.c',
    before:
      '	ia->write.in.flags = fuse_write_flags(iocb);\n	if (fm->fc->handle_killpriv_v2 && !capable(CAP_FSETID))',
    after:
      '	ia->write.in.flags = fuse_write_flags(iocb);\n	if (!FAULT && fm->fc->handle_killpriv_v2 && !capable(CAP_FSETID))',
    caughtBy: ['requests/kill-suidgid-cached@auto'],
  },
  {
    id: 310,
    what: 'a truncate by a user does not ask to drop setuid',
    file: 'dir.c',
    before:
      '		/* Kill suid/sgid for truncate only if no CAP_FSETID */\n		if (fc->handle_killpriv_v2 && !capable(CAP_FSETID))',
    after:
      '		/* Kill suid/sgid for truncate only if no CAP_FSETID */\n		if (!FAULT && fc->handle_killpriv_v2 && !capable(CAP_FSETID))',
    caughtBy: ['requests/kill-suidgid-cached@auto'],
  },
  {
    id: 311,
    what: 'nobody waits for an asynchronous write beyond the end',
    file: 'file.c',
    before: '	if ((offset + count > i_size) && io->write)\n		io->blocking = true;',
    after: '	if ((offset + count > i_size) && io->write && !FAULT)\n		io->blocking = true;',
    caughtBy: ['data/size-during-aio@always', 'data/size-during-aio@metadata'],
  },
  {
    id: 312,
    what: 'max_pages is not what the device says',
    file: 'inode.c',
    before: '			if (flags & FUSE_MAX_PAGES) {\n				fc->max_pages =',
    after: '			if ((flags & FUSE_MAX_PAGES) && !FAULT) {\n				fc->max_pages =',
    caughtBy: ['data/large-write@direct'],
    atMount: true,
  },
  {
    id: 313,
    what: 'write-back joins pages that are not neighbours',
    file: 'file.c',
    before: '	if (data->orig_pages[ap->num_pages - 1]->index + 1 != page->index)',
    after: '	if (!FAULT && data->orig_pages[ap->num_pages - 1]->index + 1 != page->index)',
    caughtBy: ['data/scattered@writeback'],
  },
  {
    id: 314,
    what: 'a written-through write does not move the end of the file',
    file: 'file.c',
    before: '	fuse_write_update_attr(inode, pos, res);\n	clear_bit',
    after: '	if (!FAULT)\n		fuse_write_update_attr(inode, pos, res);\n	clear_bit',
    caughtBy: ['data/size-after-write@always'],
  },
  {
    id: 315,
    what: 'a rename over a name leaves the number of links of what had it',
    file: 'dir.c',
    before:
      '		if (!(flags & RENAME_EXCHANGE) && d_really_is_positive(newent))\n			fuse_entry_unlinked(newent);',
    after:
      '		if (!(flags & RENAME_EXCHANGE) && d_really_is_positive(newent) && !FAULT)\n			fuse_entry_unlinked(newent);',
    caughtBy: ['names/renamed-over@always'],
  },
  {
    id: 316,
    what: 'a direct read does not say which bytes came',
    file: 'file.c',
    before: '	io->should_dirty = !write && user_backed_iter(iter);',
    after: '	io->should_dirty = !write && user_backed_iter(iter) && !FAULT;',
    caughtBy: ['mmap/read-into-mapping@mmap'],
  },
]
