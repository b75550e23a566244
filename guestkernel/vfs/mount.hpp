#pragma once
// Mounts: a file system's (sub)tree at a place in the tree. Model:
// - One mount namespace for all processes. Its absolute root stands on nothing and is hidden by the container's root,
//   which is mounted on it, so that pivot_root(2) works as in any container.
// - A mount stands on a place (a dentry of its parent mount) and holds it; the parent's list of children holds the
//   mount. On one place stands at most one mount: further ones stand on its root.
// - A tree may be detached (open_tree(2), fsmount(2)): whoever made it holds its root and dissolves it.
// - Mounts that only give a file a path (pipes, memfds) are never in any tree.
// - What mount events travel along is propagation.hpp's business; the rules of the calls are mount_tree.hpp's.
// None of these functions blocks.
#include "guestkernel/lib/list.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

// mount(2) flags.
inline constexpr uint64_t kMsRdonly = 1, kMsNosuid = 2, kMsNodev = 4, kMsNoexec = 8, kMsSynchronous = 16,
                          kMsRemount = 32, kMsNosymfollow = 256, kMsNoatime = 1024, kMsNodiratime = 2048,
                          kMsBind = 4096, kMsMove = 8192, kMsRec = 16384, kMsSilent = 32768, kMsUnbindable = 1 << 17,
                          kMsPrivate = 1 << 18, kMsSlave = 1 << 19, kMsShared = 1 << 20, kMsRelatime = 1 << 21,
                          kMsStrictatime = 1 << 24;
// What a Mount keeps of them. Neither noatime nor relatime: strictatime.
inline constexpr uint64_t kAtimeFlagMask = kMsNoatime | kMsNodiratime | kMsRelatime;
inline constexpr uint64_t kMountFlagMask =
    kMsRdonly | kMsNosuid | kMsNodev | kMsNoexec | kMsNosymfollow | kAtimeFlagMask;
// The flags of a new mount for those of mount(2): relatime unless something else is asked for.
uint64_t mount_flags_of(uint64_t ms_flags);

class Mount final : public RefCounted {
  public:
    Mount(RefPtr<FileSystem> fs, RefPtr<Dentry> root, uint64_t flags);
    ~Mount() override;
    FileSystem& fs() const { return *fs_; }
    const RefPtr<Dentry>& root() const { return root_; }
    bool readonly() const { return (flags & kMsRdonly) || fs_->readonly; }
    uint64_t unique_id() const { return (1ULL << 31) + static_cast<uint64_t>(id); }

    const int id;
    uint64_t flags;
    String source;
    Path place;  // what it stands on; not set for the root of a tree
    bool in_namespace = false;
    bool in_detached_tree = false;
    bool expiry_mark = false;  // unused since the last MNT_EXPIRE
    // Propagation: the peer group that it is in, and the one that it is a slave of; 0: none.
    uint32_t peer_group = 0, master_group = 0;
    bool unbindable = false;
    uint32_t writers = 0;  // open descriptions that may write to its files
    uint32_t watches = 0;  // references that do not make it busy
    ListHook child_hook, namespace_hook, all_hook;
    List<Mount, &Mount::child_hook> children;

  private:
    RefPtr<FileSystem> fs_;
    RefPtr<Dentry> root_;
};

// The mount that stands on a place, or null.
Mount* mount_on(const Path& place);
// The place itself, or the root of the topmost mount that stands on it.
Path topmost(Path place);
// A new mount in no tree. ENOMEM.
Result<RefPtr<Mount>> make_mount(RefPtr<Dentry> root, std::string_view source, uint64_t flags);
// Mounts `root` at `place` (not set: as the absolute root) without any rule or propagation. ENOMEM.
Result<RefPtr<Mount>> add_mount(RefPtr<Dentry> root, const Path& place, std::string_view source, uint64_t flags);

// The parts of every change. attach: the mount (no tree's, or the root of a detached one) comes to stand on `place`.
void attach(Mount& mount, const Path& place);
// It stands on nothing any more; the caller holds it.
void detach(Mount& mount);
// The mount and all below it, parents first. The mount after `mount` of the tree under `top`, or null.
Mount* next_in_tree(Mount& mount, const Mount& top);
// All mounts of the tree become part of the namespace, or of a detached tree.
void enter_namespace(Mount& top);
void enter_detached_tree(Mount& top);
// The mount belongs to nothing any more: no namespace, no peers.
void forget(Mount& mount);
// Takes a tree apart that is in no namespace (or is to leave it).
void dissolve(Mount& top);

// The namespace in the order of the mounts' age: the first mount, the one after it, null at the end.
Mount* first_mount();
Mount* next_mount(Mount& mount);
size_t mount_count();
// All mounts there are, whatever tree they are in.
List<Mount, &Mount::all_hook>& all_mounts();
// Whether a mount of the namespace stands on the dentry.
bool is_mount_point(const Dentry& dentry);
// The dentry's name is gone: mounts of detached trees that stand on it go.
void detach_mounts_on(Dentry& dentry);
// Whether the mount's root can be reached from `root`.
bool is_visible(const Mount& mount, const Path& root);
// The path of a dentry inside its file system.
Result<String> path_inside(const Dentry& dentry);
Path root_path();  // of the whole tree

}  // namespace kvmsbx::vfs
