#include "guestkernel/vfs/path.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::vfs {

Path::Path() = default;
Path::Path(RefPtr<Mount> mount, RefPtr<Dentry> dentry) : mount_(std::move(mount)), dentry_(std::move(dentry)) {}
Path::Path(const Path&) = default;
Path::Path(Path&&) noexcept = default;
Path& Path::operator=(Path other) noexcept {
    mount_ = std::move(other.mount_);
    dentry_ = std::move(other.dentry_);
    return *this;
}
Path::~Path() = default;
Mount& Path::mount() const { return *mount_; }
Dentry& Path::dentry() const { return *dentry_; }
Inode& Path::inode() const {
    VERIFY(dentry_->inode());
    return *dentry_->inode();
}

Result<RefPtr<FsContext>> FsContext::clone() const {
    auto copy = TRY(make_ref<FsContext>());
    copy->root = root, copy->cwd = cwd, copy->umask = umask;
    return copy;
}

namespace {

// "/a/b" is written from its end.
Result<String> join_backwards(const Vector<std::string_view>& names) {
    if (names.empty()) return String::create("/");
    String text;
    for (size_t i = names.size(); i-- > 0;) {
        TRY(text.append('/'));
        TRY(text.append(names[i]));
    }
    return text;
}

}  // namespace

Result<String> path_string(const Path& path, const Path& root) {
    Vector<std::string_view> names;
    const bool deleted = path.dentry().is_dropped() && path.dentry().parent();
    bool reached = false;
    const Mount* mount = &path.mount();
    const Dentry* dentry = &path.dentry();
    for (;;) {
        reached = mount == &root.mount() && dentry == &root.dentry();
        if (reached) break;
        if (dentry == mount->root().get()) {
            if (!mount->place.is_set()) break;
            dentry = &mount->place.dentry();
            mount = &mount->place.mount();
            continue;
        }
        if (!dentry->parent()) break;
        TRY(names.push_back(dentry->name()));
        dentry = dentry->parent().get();
    }
    String text = TRY(join_backwards(names));
    if (!reached) {
        String prefixed = TRY(String::create("(unreachable)"));
        TRY(prefixed.append(text));
        text = std::move(prefixed);
    }
    if (deleted) TRY(text.append(" (deleted)"));
    return text;
}

}  // namespace kvmsbx::vfs
