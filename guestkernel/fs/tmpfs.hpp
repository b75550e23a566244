#pragma once
// tmpfs(5): a file system in memory. Files are page caches with nothing behind them; directories are trees of names,
// with growing cookies for readdir. Options: size= (bytes, k, m, g, %; default half of RAM), nr_blocks=, nr_inodes=,
// mode=, uid=, gid=; huge=, mpol=, noswap are checked and shown. Names are kept here, not in the dentry cache.
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::fs {

inline constexpr std::string_view kTmpfsOptions =
    "size,nr_blocks,nr_inodes,mode,uid,gid,inode32,inode64,huge,mpol,noswap";
// The factory of type "tmpfs". EINVAL: malformed options.
Result<RefPtr<vfs::Inode>> make_tmpfs(const vfs::MountOptions& options);
// The same under another type name (devtmpfs); the name must live for ever.
Result<RefPtr<vfs::Inode>> make_tmpfs_named(std::string_view type, const vfs::MountOptions& options);
// memfd_create(2): an open file without a name, shown as "/memfd:NAME (deleted)".
Result<RefPtr<vfs::File>> make_memfd(std::string_view name, const auth::Credentials& owner);
// memfd seals of fcntl(F_ADD_SEALS, F_GET_SEALS); EINVAL if the file has none.
Result<> add_seals(vfs::File& file, uint32_t seals);
Result<uint32_t> get_seals(vfs::File& file);

}  // namespace kvmsbx::fs
