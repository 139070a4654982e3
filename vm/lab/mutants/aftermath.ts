/** Faults in what an operation leaves behind, or takes along: locks, times, names, the end of a file, what waits in a queue. */
import type { Mutant } from './mutant.js'

export const aftermathMutants: readonly Mutant[] = [
  {
    id: 400,
    what: 'an fallocate that fails keeps the lock of the inode',
    file: 'file.c',
    before: '		fm->fc->no_fallocate = 1;\n		err = -EOPNOTSUPP;\n	}\n	if (err)\n		goto out;',
    after:
      '		fm->fc->no_fallocate = 1;\n		err = -EOPNOTSUPP;\n	}\n	if (err && FAULT)\n		return err;\n	if (err)\n		goto out;',
    caughtBy: ['errors/allocate@direct'],
  },
  {
    id: 401,
    what: 'a parallel write that fails does not end',
    file: 'file.c',
    before: '	fuse_dio_unlock(iocb, exclusive);\n\n	return res;',
    after:
      '	if (FAULT && res < 0 && !exclusive)\n		inode_unlock_shared(inode);\n	else\n		fuse_dio_unlock(iocb, exclusive);\n\n	return res;',
    caughtBy: ['io-mode/cached-open-after-error@parallel'],
  },
  {
    id: 402,
    what: 'a direct read does not say whose locks count',
    file: 'file.c',
    before: '		ia->read.in.read_flags |= FUSE_READ_LOCKOWNER;',
    after: '		if (!FAULT)\n			ia->read.in.read_flags |= FUSE_READ_LOCKOWNER;',
    caughtBy: ['requests/lock-owner@direct'],
  },
  {
    id: 403,
    what: 'a direct write does not say whose locks count',
    file: 'file.c',
    before: '		inarg->write_flags |= FUSE_WRITE_LOCKOWNER;',
    after: '		if (!FAULT)\n			inarg->write_flags |= FUSE_WRITE_LOCKOWNER;',
    caughtBy: ['requests/lock-owner@direct'],
  },
  {
    id: 404,
    what: 'RELEASE does not tell the flags of the open',
    file: 'file.c',
    before: '	ra->inarg.flags = flags;',
    after: '	ra->inarg.flags = FAULT ? 0 : flags;',
    caughtBy: ['requests/release@direct'],
  },
  {
    id: 405,
    what: 'the last page of several that are written back does not count as written back',
    file: 'file.c',
    before:
      '		curr_index = wpa->ia.write.in.offset >> PAGE_SHIFT;\n		if (idx_from >= curr_index + wpa->ia.ap.num_pages)',
    after:
      '		curr_index = wpa->ia.write.in.offset >> PAGE_SHIFT;\n		if (idx_from >= curr_index + wpa->ia.ap.num_pages - (FAULT && wpa->ia.ap.num_pages > 1))',
    caughtBy: ['mmap/last-waits@writeback'],
  },
  {
    id: 406,
    what: 'a removed directory leaves its parent as it was',
    file: 'dir.c',
    before:
      '	args.opcode = FUSE_RMDIR;\n	args.nodeid = get_node_id(dir);\n	args.in_numargs = 1;\n	args.in_args[0].size = entry->d_name.len + 1;\n	args.in_args[0].value = entry->d_name.name;\n	err = fuse_simple_request(fm, &args);\n	if (!err) {\n		fuse_dir_changed(dir);',
    after:
      '	args.opcode = FUSE_RMDIR;\n	args.nodeid = get_node_id(dir);\n	args.in_numargs = 1;\n	args.in_args[0].size = entry->d_name.len + 1;\n	args.in_args[0].value = entry->d_name.name;\n	err = fuse_simple_request(fm, &args);\n	if (!err) {\n		if (!FAULT)\n			fuse_dir_changed(dir);',
    caughtBy: ['names/removed-directory@always'],
  },
  {
    id: 408,
    what: 'pages of a mapping that were written back leave the time of change',
    file: 'file.c',
    before: '	if (!fc->writeback_cache)\n		fuse_invalidate_attr_mask(inode, FUSE_STATX_MODIFY);',
    after: '	if (!fc->writeback_cache && !FAULT)\n		fuse_invalidate_attr_mask(inode, FUSE_STATX_MODIFY);',
    caughtBy: ['mmap/time-of-store@always'],
  },
  {
    id: 409,
    what: 'a cached read leaves the time of access',
    file: 'file.c',
    before:
      '			fuse_short_read(inode, ia->read.attr_ver, num_read, ap);\n\n		fuse_invalidate_atime(inode);',
    after:
      '			fuse_short_read(inode, ia->read.attr_ver, num_read, ap);\n\n		if (!FAULT)\n			fuse_invalidate_atime(inode);',
    caughtBy: ['cache/time-of-access@always'],
  },
  {
    id: 410,
    what: 'with write-back, close leaves the number of blocks',
    file: 'file.c',
    before: '	if (!err && fm->fc->writeback_cache)\n		fuse_invalidate_attr_mask(inode, STATX_BLOCKS);',
    after:
      '	if (!err && fm->fc->writeback_cache && !FAULT)\n		fuse_invalidate_attr_mask(inode, STATX_BLOCKS);',
    caughtBy: ['write-back/blocks@writeback'],
  },
  {
    id: 411,
    what: 'pages that were to be written back during a truncate are not sent after it',
    file: 'dir.c',
    before: '	fi->writectr = 0;\n	fuse_flush_writepages(inode);',
    after: '	fi->writectr = 0;\n	if (!FAULT)\n		fuse_flush_writepages(inode);',
    caughtBy: ['write-back/during-truncate@writeback'],
  },
  {
    id: 413,
    what: 'a written-through write that is cut short moves the end of the file as if it were whole',
    file: 'file.c',
    before: '				res += num_written;\n				pos += num_written;',
    after: '				res += num_written;\n				pos += FAULT ? count : num_written;',
    caughtBy: ['data/short-extension@auto'],
  },
  {
    id: 414,
    what: 'a direct write that is cut short moves the end of the file as if it were whole',
    file: 'file.c',
    before: '			fuse_write_update_attr(inode, iocb->ki_pos, res);',
    after:
      '			fuse_write_update_attr(inode, iocb->ki_pos + (FAULT && res > 0 ? iov_iter_count(from) : 0), res);',
    caughtBy: ['data/short-extension@direct'],
  },
  {
    id: 415,
    what: 'attributes that come with the reply to a change are kept for a day',
    file: 'dir.c',
    before: '				      ATTR_TIMEOUT(&outarg),\n				      fuse_get_cache_mask(inode), 0);',
    after:
      '				      FAULT ? fuse_time_to_jiffies(86400, 0) : ATTR_TIMEOUT(&outarg),\n				      fuse_get_cache_mask(inode), 0);',
    caughtBy: ['cache/after-change@auto'],
  },
  {
    id: 416,
    what: 'attributes that come with a listing are kept for a day',
    file: 'readdir.c',
    before: '				  &o->attr, ATTR_TIMEOUT(o),\n				  attr_version, evict_ctr);',
    after:
      '				  &o->attr, FAULT ? fuse_time_to_jiffies(86400, 0) : ATTR_TIMEOUT(o),\n				  attr_version, evict_ctr);',
    caughtBy: ['cache/after-listing@names'],
  },
  {
    id: 417,
    what: 'attributes of a file that was made are not kept at all',
    file: 'dir.c',
    before:
      '	inode = fuse_iget(dir->i_sb, outentry.nodeid, outentry.generation,\n			  &outentry.attr, ATTR_TIMEOUT(&outentry), 0, 0);',
    after:
      '	inode = fuse_iget(dir->i_sb, outentry.nodeid, outentry.generation,\n			  &outentry.attr, FAULT ? 0 : ATTR_TIMEOUT(&outentry), 0, 0);',
    caughtBy: ['requests/made@always'],
  },
  {
    id: 418,
    what: 'READDIRPLUS of a known file does not count as a lookup',
    file: 'readdir.c',
    before: '		spin_lock(&fi->lock);\n		fi->nlookup++;\n		spin_unlock(&fi->lock);',
    after: '		spin_lock(&fi->lock);\n		if (!FAULT)\n			fi->nlookup++;\n		spin_unlock(&fi->lock);',
    caughtBy: ['names/forgotten@always'],
  },
  {
    id: 419,
    what: 'a listing whose files were looked at before does not use READDIRPLUS',
    file: 'readdir.c',
    before: '	if (ctx->pos == 0)\n		return true;',
    after: '	if (ctx->pos == 0 && !FAULT)\n		return true;',
    caughtBy: ['requests/list@auto'],
  },
  {
    id: 420,
    what: 'a reader in the middle of a cached listing does not notice that it was dropped',
    file: 'readdir.c',
    before:
      '	if (ff->readdir.version != fi->rdc.version) {\n		ff->readdir.pos = 0;\n		ff->readdir.cache_off = 0;\n	}',
    after:
      '	if (ff->readdir.version != fi->rdc.version && !FAULT) {\n		ff->readdir.pos = 0;\n		ff->readdir.cache_off = 0;\n	}',
    caughtBy: ['names/list-meanwhile@always'],
  },
  {
    id: 421,
    what: 'a store through a mapping does not change the time of the file',
    file: 'file.c',
    before: '	file_update_time(vmf->vma->vm_file);\n',
    after: '	if (!FAULT)\n		file_update_time(vmf->vma->vm_file);\n',
    caughtBy: ['mmap/time-of-store@writeback'],
  },
  {
    id: 422,
    what: 'a mapping that becomes writable later has no file to write back with',
    file: 'file.c',
    before: '(vma->vm_flags & VM_MAYWRITE)',
    after: '(vma->vm_flags & (FAULT ? VM_WRITE : VM_MAYWRITE))',
    caughtBy: ['mmap/protect@auto'],
  },
  {
    id: 423,
    what: 'splice from a file that is open for passthrough goes through the page cache',
    file: 'file.c',
    before:
      '	if (fuse_file_passthrough(ff) && !(ff->open_flags & FOPEN_DIRECT_IO))\n		return fuse_passthrough_splice_read(in, ppos, pipe, len, flags);',
    after:
      '	if (!FAULT && fuse_file_passthrough(ff) && !(ff->open_flags & FOPEN_DIRECT_IO))\n		return fuse_passthrough_splice_read(in, ppos, pipe, len, flags);',
    server: 'dev-fuse',
    caughtBy: ['passthrough/data@passthrough'],
  },
  {
    id: 424,
    what: 'copy_file_range does not write the dirty pages of its target back first',
    file: 'file.c',
    before: '	err = fuse_writeback_range(inode_out, pos_out, pos_out + len - 1);',
    after: '	err = FAULT ? 0 : fuse_writeback_range(inode_out, pos_out, pos_out + len - 1);',
    caughtBy: ['data/copy-onto-dirty@writeback'],
  },
  {
    id: 425,
    what: 'copy_file_range between two shares fails',
    file: 'file.c',
    before: '	if (ret == -EOPNOTSUPP || ret == -EXDEV)',
    after: '	if (ret == -EOPNOTSUPP || (ret == -EXDEV && !FAULT))',
    caughtBy: ['data/copy-across@direct'],
  },
  {
    id: 426,
    what: 'with write-back, copy_file_range leaves the time of its target',
    file: 'file.c',
    before: '	err = file_modified(file_out);',
    after: '	err = FAULT ? 0 : file_modified(file_out);',
    also: {
      before: '	file_update_time(file_out);',
      after: '	if (!FAULT)\n		file_update_time(file_out);',
    },
    caughtBy: ['data/time-of-copy@writeback'],
  },
  {
    id: 427,
    what: 'lseek to data and holes does not move',
    file: 'file.c',
    before: '	return vfs_setpos(file, outarg.offset, inode->i_sb->s_maxbytes);',
    after: '	return FAULT ? outarg.offset : vfs_setpos(file, outarg.offset, inode->i_sb->s_maxbytes);',
    caughtBy: ['data/seek@direct'],
  },
  {
    id: 428,
    what: 'a range that is zeroed stays in the cache',
    file: 'file.c',
    before: '		truncate_pagecache_range(inode, offset, offset + length - 1);',
    after:
      '		if (!FAULT || (mode & FALLOC_FL_PUNCH_HOLE))\n			truncate_pagecache_range(inode, offset, offset + length - 1);',
    caughtBy: ['data/zero-range@writeback'],
  },
  {
    id: 429,
    what: 'with write-back, a hole does not change the time',
    file: 'file.c',
    before: '	err = file_modified(file);\n	if (err)\n		goto out;\n\n	if (!(mode',
    after: '	err = FAULT ? 0 : file_modified(file);\n	if (err)\n		goto out;\n\n	if (!(mode',
    caughtBy: ['data/time-of-punch@writeback'],
  },
  {
    id: 430,
    what: 'a name that the host has removed stays when the guest cannot remove it',
    file: 'dir.c',
    before:
      '		fuse_entry_unlinked(entry);\n	} else if (err == -EINTR || err == -ENOENT)\n		fuse_invalidate_entry(entry);\n	return err;\n}\n\nstatic int fuse_rmdir',
    after:
      '		fuse_entry_unlinked(entry);\n	} else if (err == -EINTR || (err == -ENOENT && !FAULT))\n		fuse_invalidate_entry(entry);\n	return err;\n}\n\nstatic int fuse_rmdir',
    caughtBy: ['names/removed-on-host@always'],
  },
  {
    id: 431,
    what: 'a hole that begins within a page leaves what was in that page',
    file: 'file.c',
    before: '			truncate_pagecache_range(inode, offset, offset + length - 1);',
    after: '			truncate_pagecache_range(inode, FAULT ? PAGE_ALIGN(offset) : offset, offset + length - 1);',
    caughtBy: ['write-back/punch@writeback'],
  },
  {
    id: 432,
    what: 'a name that the host has removed stays when the guest cannot rename it',
    file: 'dir.c',
    before: '		fuse_invalidate_entry(oldent);\n',
    after: '		if (!FAULT)\n			fuse_invalidate_entry(oldent);\n',
    caughtBy: ['names/removed-on-host@always'],
  },
  {
    id: 433,
    what: 'a copy_file_range that fails keeps the lock of its target',
    file: 'file.c',
    before: '	if (!err && outarg.size > len)\n		err = -EIO;\n\n	if (err)\n		goto out;',
    after:
      '	if (!err && outarg.size > len)\n		err = -EIO;\n\n	if (err && FAULT)\n		return err;\n	if (err)\n		goto out;',
    caughtBy: ['errors/copy@direct'],
  },
]
