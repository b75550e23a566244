#pragma once
// File handles: an inode by its number.
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

// The file of that number below the root of a mount. ESTALE: there is none (any more). May block; looks at every
// directory in the worst case.
Result<Path> find_by_number(Mount& mount, uint64_t number);
// open(2) of what was found otherwise than by a name.
Result<RefPtr<File>> open_found(const Caller& caller, const Path& path, uint32_t flags);

}  // namespace kvmsbx::vfs
