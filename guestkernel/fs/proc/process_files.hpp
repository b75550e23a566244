#pragma once
// Descriptors and places of a process: fd, fdinfo, exe, cwd, root.
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"

namespace kvmsbx::fs {

enum class FdView : uint8_t { kLinks, kInfo };
Result<RefPtr<vfs::Inode>> make_fd_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject,
                                             FdView view);

enum class Place : uint8_t { kExecutable, kWorkingDirectory, kRoot };
Result<RefPtr<vfs::Inode>> make_place_link(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, Place place);

// A decimal number as names in /proc have it (no leading zero); -1 if it is none.
int32_t parse_pid(std::string_view name);

}  // namespace kvmsbx::fs
