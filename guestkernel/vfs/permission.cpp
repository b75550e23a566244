#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

using auth::Capability;

Result<> check_permission(const auth::Credentials& credentials, Inode& inode, uint32_t access) {
    constexpr uint32_t kExecute = 1, kWrite = 2, kRead = 4;
    if ((access & kWrite) && inode.always_readonly()) return Errno::kROFS;
    const Ownership owner = TRY(inode.ownership());
    uint32_t bits = owner.mode & 7;
    if (credentials.fsuid == owner.uid)
        bits = owner.mode >> 6 & 7;
    else if (credentials.in_group(owner.gid))
        bits = owner.mode >> 3 & 7;
    if ((bits & access) == access) return {};
    const bool directory = (owner.mode & kModeTypeMask) == kModeDirectory;
    if (credentials.has(Capability::kDacOverride) && (directory || !(access & kExecute) || (owner.mode & 0111)))
        return {};
    const uint32_t searchable = directory ? kRead | kExecute : kRead;
    if (credentials.has(Capability::kDacReadSearch) && !(access & ~searchable)) return {};
    return Errno::kACCES;
}

}  // namespace kvmsbx::vfs
