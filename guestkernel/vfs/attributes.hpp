#pragma once
// Attributes with the rules of who may change them (chmod(2), chown(2), utimensat(2), truncate(2)).
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

Result<> change_mode(const Caller& caller, const Path& path, uint32_t mode);
// ~0 leaves an id as it is. Clears set-id bits as Linux does.
Result<> change_owner(const Caller& caller, const Path& path, uint32_t uid, uint32_t gid);
// change: the kAtime, kMtime, kAtimeNow, kMtimeNow bits. explicit_times: the caller named times (needs ownership), else
// write permission is enough.
Result<> change_times(const Caller& caller, const Path& path, const AttributeChange& change, bool explicit_times);
// truncate(2) by path: write permission wanted. EISDIR, EINVAL.
Result<> truncate(const Caller& caller, const Path& path, uint64_t size);
// After a write by a caller without CAP_FSETID: set-user-id and set-group-id go (chmod(2) of executables).
Result<> drop_set_id(const auth::Credentials& credentials, Inode& inode);

}  // namespace kvmsbx::vfs
