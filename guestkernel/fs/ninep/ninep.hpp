#pragma once
// The 9P file system: what the gofer serves, as type "9p" (source: the aname of Tattach). Model:
// - A Super per attach. Its inodes are keyed by qid.path, so that hard links share attributes and pages; dentries and
//   files hold them.
// - Each inode has a fid to walk from (an O_PATH descriptor of the gofer). Open fids belong to the inode, not to open
//   files: one for reading, one for writing (and reading), opened when first needed and kept for a while, so that open
//   and close of a file known here cost no round trip.
// - Access is per Super (MountOptions::shared_access). exclusive: nobody else changes the files. Names (also those that do not exist), attributes and
//   pages are cached without asking again; writes go to the page cache and are flushed at 256 KiB, fsync, close, and at
//   the sandbox's end.
// - shared access: names and attributes are asked for at each walk, open and stat; pages go when a file has changed;
//   writes are written through.
// - Permission is the VFS's business; the gofer trusts what we say about owners inside its exports.
// - Locks of a regular file, in this order: write_lock (writers, truncation, flush of written data), io_lock (filling
//   and writing back pages). Page faults take io_lock alone, so user memory may be touched with write_lock held, never
//   with io_lock held.
#include <span>

#include "common/base/result.hpp"

namespace kvmsbx::fs::ninep {

// Called once at start, before mount_root: takes the channel into use, negotiates, registers type "9p". Until
// start_blocking() requests are waited for by spinning.
Result<> initialize(std::span<uint8_t> channel, void (*doorbell)());
void start_blocking();
// Writes all dirty data back (sync(2), the end of the sandbox). May block. The first error.
Result<> write_back_all();
// Drops clean cached pages, the longest unused files' first; gives how many went. Never blocks.
uint64_t drop_pages(uint64_t wanted);
// mm::evict: mapped pages go as well. May block.
uint64_t evict_pages(uint64_t wanted);

}  // namespace kvmsbx::fs::ninep
