#pragma once
// System calls that change names: each is its man page, from path string to file system. base: see walk().
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

Result<> make_directory(const Caller& caller, const Path& base, std::string_view path, uint32_t mode);
// mknod(2): regular files, devices (CAP_MKNOD), FIFOs, sockets. mode with type; umask is applied here.
Result<Path> make_node(const Caller& caller, const Path& base, std::string_view path, uint32_t mode, uint64_t device);
Result<> make_symlink(const Caller& caller, const Path& base, std::string_view path, std::string_view target);
Result<> make_link(const Caller& caller, const Path& existing, const Path& base, std::string_view path);
Result<> unlink(const Caller& caller, const Path& base, std::string_view path);
Result<> remove_directory(const Caller& caller, const Path& base, std::string_view path);
// flags: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2.
Result<> rename(const Caller& caller, const Path& base, std::string_view path, const Path& new_base,
                std::string_view new_path, uint32_t flags);

}  // namespace kvmsbx::vfs
