#pragma once
// Extended attributes with the rules of xattr(7): which name space may be read and changed by whom, and of what kind of
// file. The values are the file system's (Inode::get_xattr and kin).
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

inline constexpr size_t kMaxXattrName = 255, kMaxXattrValue = 65536, kMaxXattrList = 65536;
inline constexpr uint32_t kXattrCreate = 1, kXattrReplace = 2;
inline constexpr std::string_view kXattrCapability = "security.capability";

// ENODATA, EOPNOTSUPP, EACCES, EPERM.
Result<Vector<uint8_t>> get_xattr(const auth::Credentials& who, Inode& inode, std::string_view name);
// EROFS, EEXIST, ENODATA, EOPNOTSUPP, EACCES, EPERM, EINVAL (no capability record), ENOSPC.
Result<> set_xattr(const auth::Credentials& who, const Path& path, std::string_view name,
                   std::span<const uint8_t> value, uint32_t flags);
Result<> remove_xattr(const auth::Credentials& who, const Path& path, std::string_view name);
// Names, each ended by NUL; without those of "trusted." for who may not see them.
Result<Vector<uint8_t>> list_xattrs(const auth::Credentials& who, Inode& inode);

// What a file adds to the capabilities of who executes it (capabilities(7), "File capabilities"). No value: nothing.
struct FileCapabilities {
    uint64_t permitted = 0, inheritable = 0;
    bool effective = false;
};
bool decode_capabilities(std::span<const uint8_t> value, FileCapabilities& out);

}  // namespace kvmsbx::vfs
