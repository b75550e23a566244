#include "guestkernel/vfs/mount.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

namespace {
List<Mount, &Mount::hook> mounts;
int last_id;
}  // namespace

Mount::Mount(RefPtr<FileSystem> fs, RefPtr<Dentry> root, uint64_t flags)
    : id(++last_id), flags(flags), fs_(std::move(fs)), root_(std::move(root)) {}
Mount::~Mount() = default;

Mount* mount_on(const Path& place) {
    if (place.dentry().mounts == 0) return nullptr;
    for (auto it = mounts.rbegin(); it != mounts.rend(); ++it)
        if (it->place == place) return &*it;
    return nullptr;
}

Result<RefPtr<Mount>> add_mount(RefPtr<Dentry> root, const Path& place, std::string_view source, uint64_t flags) {
    RefPtr<FileSystem> fs(root->inode()->fs());
    auto mount = TRY(make_ref<Mount>(std::move(fs), std::move(root), flags));
    mount->source = TRY(String::create(source));
    if (place.is_set()) {
        mount->place = place;
        ++place.dentry().mounts;
    }
    mount->ref();  // the list's
    mounts.push_back(*mount);
    return mount;
}

Result<> remove_mount(Mount& mount, bool detach) {
    if (!mount.place.is_set()) return Errno::kINVAL;
    for (Mount& other : mounts)
        if (other.place.is_set() && &other.place.mount() == &mount && !detach) return Errno::kBUSY;
    RefPtr<Mount> keep(mount);
    mount.hook.unlink();
    mount.unref();
    --mount.place.dentry().mounts;
    mount.place = Path();
    if (mount_removed) mount_removed(mount);
    for (auto it = mounts.begin(); it != mounts.end(); ++it) {
        if (!it->place.is_set() || &it->place.mount() != &mount) continue;
        TRY(remove_mount(*it, true));
        it = mounts.begin();
    }
    return {};
}

Mount* first_mount() { return mounts.empty() ? nullptr : &mounts.front(); }

Mount* next_mount(Mount& mount) {
    if (!mount.hook.is_linked()) return nullptr;
    auto it = ++mounts.iterator_to(mount);
    return it == mounts.end() ? nullptr : &*it;
}

Mount& root_mount() {
    VERIFY(!mounts.empty());
    return mounts.front();
}

Path root_path() {
    Path path(RefPtr<Mount>(root_mount()), root_mount().root());
    while (Mount* above = mount_on(path)) path = Path(RefPtr<Mount>(*above), above->root());
    return path;
}

}  // namespace kvmsbx::vfs
