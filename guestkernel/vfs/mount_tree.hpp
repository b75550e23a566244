#pragma once
// What mount(2), umount2(2), pivot_root(2), move_mount(2) and mount_setattr(2) do to the tree of mounts, with Linux's
// rules. Capabilities are checked by the callers. A place is the path that the call names, walked, and so the topmost
// mount there. None of these functions blocks, except for reconfigure().
#include "guestkernel/vfs/propagation.hpp"

namespace kvmsbx::vfs {

// The path is the root of the mount that it is in.
inline bool is_mounted(const Path& path) { return path.mount().root() == &path.dentry(); }

// A new file system's root on a place. flags: kMountFlagMask's. EBUSY: the same file system is there already; ENOTDIR,
// ENOENT (a removed directory), EINVAL (a place outside the namespace), ENOSPC.
Result<> mount_file_system(RefPtr<Inode> root, std::string_view source, uint64_t flags, const Path& place);
// MS_BIND. EINVAL: unbindable, or not of the namespace.
Result<> bind_mount(const Path& from, const Path& place, CopyWhat what);
// A copy for open_tree(2) with OPEN_TREE_CLONE.
Result<NewTree> copy_detached(const Path& from, CopyWhat what);
// The descriptor for a detached tree: O_PATH, and the tree goes with it unless it was moved to a place meanwhile.
Result<RefPtr<File>> open_detached(NewTree tree);
// MS_MOVE and move_mount(2). kBeneath: below the topmost mount of the place. EINVAL, ELOOP (into itself).
enum class MoveTo : uint8_t { kTop, kBeneath };
Result<> move_mount(const Path& from, const Path& place, MoveTo where, const Path& task_root);
// MOVE_MOUNT_SET_GROUP: `to`, a private mount, joins the groups of `from`.
Result<> join_groups(const Path& from, const Path& to);

// One of kMsShared, kMsPrivate, kMsSlave, kMsUnbindable.
Result<> set_propagation(const Path& place, uint64_t type, CopyWhat what);

// mount_setattr(2): flags of kMountFlagMask; first what goes, then what comes. EBUSY: read-only, and files are open for
// writing.
struct FlagChange {
    uint64_t clear = 0, set = 0;
    uint64_t propagation = 0;  // as for set_propagation; 0: as it is
};
Result<> change_flags(const Path& place, const FlagChange& change, CopyWhat what);
// MS_REMOUNT and fsconfig(2)'s FSCONFIG_CMD_RECONFIGURE: the file system however it is mounted.
Result<> reconfigure(FileSystem& fs, bool readonly, std::string_view data);

// umount2(2). EINVAL: no mount's root, the absolute root; EBUSY: in use by more than `held` references (of the caller);
// EAGAIN: marked as expired.
enum class Unmount : uint8_t { kIdle, kLazily, kExpired };
Result<> unmount(Mount& mount, Unmount how, uint32_t held);

// pivot_root(2): the mount that is the root of `root` comes to stand on put_old, and new_root where it stood. The
// caller moves the tasks. EBUSY, EINVAL, ENOENT.
Result<> pivot_root(const Path& root, const Path& new_root, const Path& put_old);

}  // namespace kvmsbx::vfs
