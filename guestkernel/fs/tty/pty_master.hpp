#pragma once
#include "guestkernel/fs/tty/pty.hpp"

namespace kvmsbx::fs {

// open(2) of a ptmx node: a new pty of this instance. ENOSPC, ENOMEM.
Result<RefPtr<vfs::File>> open_pty_master(PtsFileSystem& instance, const vfs::Path& path, uint32_t flags);

}  // namespace kvmsbx::fs
