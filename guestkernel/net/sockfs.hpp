#pragma once
// The file system of sockets without a name in a tree, as Linux's sockfs: it has nothing but their inodes. Inside net/
// only.
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::net {

uint64_t next_inode_number();
// ENOMEM.
Result<RefPtr<vfs::Inode>> make_socket_inode(uint64_t number, const auth::Credentials& owner);
// Where /proc/PID/fd/N leads to. ENOMEM.
Result<vfs::Path> socket_path(RefPtr<vfs::Inode> inode);

}  // namespace kvmsbx::net
