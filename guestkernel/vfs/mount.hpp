#pragma once
// Mounts: a file system's (sub)tree at a place in the tree. One mount namespace for all processes. The global list
// holds a reference to each mount; a mount holds the place it stands on.
#include "guestkernel/lib/list.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

// mount(2) flags.
inline constexpr uint64_t kMsRdonly = 1, kMsNosuid = 2, kMsNodev = 4, kMsNoexec = 8, kMsSynchronous = 16,
                          kMsRemount = 32, kMsNoatime = 1024, kMsNodiratime = 2048, kMsBind = 4096, kMsMove = 8192,
                          kMsRec = 16384, kMsSilent = 32768, kMsUnbindable = 1 << 17, kMsPrivate = 1 << 18,
                          kMsSlave = 1 << 19, kMsShared = 1 << 20, kMsRelatime = 1 << 21, kMsStrictatime = 1 << 24;
inline constexpr uint64_t kMountFlagMask =
    kMsRdonly | kMsNosuid | kMsNodev | kMsNoexec | kMsNoatime | kMsNodiratime | kMsRelatime;

class Mount final : public RefCounted {
  public:
    Mount(RefPtr<FileSystem> fs, RefPtr<Dentry> root, uint64_t flags);
    ~Mount() override;
    FileSystem& fs() const { return *fs_; }
    const RefPtr<Dentry>& root() const { return root_; }
    bool readonly() const { return flags & kMsRdonly; }

    const int id;
    uint64_t flags;
    String source;
    Path place;  // what it stands on; not set for the root of the tree
    ListHook hook;

  private:
    RefPtr<FileSystem> fs_;
    RefPtr<Dentry> root_;
};

// The topmost mount on a place, or null.
Mount* mount_on(const Path& place);
// Mounts `root` at `place` (not set: as root of the tree). ENOMEM.
Result<RefPtr<Mount>> add_mount(RefPtr<Dentry> root, const Path& place, std::string_view source, uint64_t flags);
// EBUSY: another mount stands on it (and not detach), EINVAL: the root of the tree.
Result<> remove_mount(Mount& mount, bool detach);
// For /proc/mounts: the first mount, the one after it, null at the end.
Mount* first_mount();
Mount* next_mount(Mount& mount);
Mount& root_mount();
Path root_path();  // of the whole tree

}  // namespace kvmsbx::vfs
