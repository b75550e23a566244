#pragma once
// Rules for new names, shared by open(2) and namei.cpp. Inside vfs/ only.
#include "guestkernel/vfs/walker.hpp"

namespace kvmsbx::vfs {

// Whether the caller may make a name in the directory: EROFS, EACCES, ENOENT (removed directory).
Result<> may_create(const Caller& caller, const Path& directory);
// Owner, group and mode of a new inode: umask, set-group-id directories (inode(7)).
Result<NewNode> new_node(const Caller& caller, Inode& directory, uint32_t mode);
// A name was created in the file system: `dentry`, negative until now, gets the inode; where names are not cached, a
// new dentry replaces it.
Result<> name_new_inode(RefPtr<Dentry>& dentry, Dentry& directory, std::string_view name, RefPtr<Inode> inode);

}  // namespace kvmsbx::vfs
