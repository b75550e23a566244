#include "guestkernel/vfs/walker.hpp"

namespace kvmsbx::vfs {

namespace {

constexpr uint32_t kSearch = 1;

// Asks the file system; the directory's lock is held.
Result<RefPtr<Dentry>> ask_file_system(Dentry& directory, std::string_view name, RefPtr<Dentry> cached) {
    Inode& inode = *directory.inode();
    Result<RefPtr<Inode>> found = inode.lookup(name);
    if (found.is_error() && found.error() != Errno::kNOENT) return found.error();
    RefPtr<Inode> child = found.is_ok() ? found.release_value() : RefPtr<Inode>();
    const bool same =
        cached && (cached->inode() == child.get() || (cached->inode() && child && cached->inode()->is_same(*child)));
    if (cached && (same || cached->mounts > 0)) return cached;
    if (cached) cached->drop();
    return Dentry::create(directory, name, std::move(child));
}

}  // namespace

Result<RefPtr<Dentry>> lookup_child(Dentry& directory, std::string_view name, DirectoryLock lock) {
    if (name.size() > kMaxName) return Errno::kNAMETOOLONG;
    Inode& inode = *directory.inode();
    const bool trusted = inode.fs().cacheable_names;
    if (trusted)
        if (RefPtr<Dentry> cached = Dentry::find(directory, name)) return cached;
    if (lock == DirectoryLock::kHeld) return ask_file_system(directory, name, Dentry::find(directory, name));
    sched::MutexGuard guard(inode.directory_lock);
    RefPtr<Dentry> cached = Dentry::find(directory, name);
    if (cached && trusted) return cached;
    return ask_file_system(directory, name, std::move(cached));
}

void cross_mounts(Path& path) {
    while (path.dentry().mounts > 0) {
        Mount* mount = mount_on(path);
        if (!mount) return;
        path = Path(RefPtr<Mount>(*mount), mount->root());
    }
}

Result<> Walker::start(std::string_view path) {
    if (path.empty()) return Errno::kNOENT;
    if (path.size() >= kMaxPath) return Errno::kNAMETOOLONG;
    if (path.front() == '/') TRY(go_to_root());
    rest_ = path;
    return {};
}

const Path& Walker::root() const { return caller_.resolve & kResolveInRoot ? base_ : caller_.fs.root; }

Result<> Walker::stay_in_mount(const Mount& before) const {
    return (caller_.resolve & kResolveNoXdev) && &before != &place_.mount() ? Result<>(Errno::kXDEV) : Result<>();
}

Result<> Walker::go_to_root() {
    if (caller_.resolve & kResolveBeneath) return Errno::kXDEV;
    RefPtr<Mount> before(place_.mount());
    place_ = Path(root());
    return stay_in_mount(*before);
}

Result<> Walker::enter_directory() {
    Inode& inode = place_.inode();
    if (!inode.is_directory()) return Errno::kNOTDIR;
    return check_permission(caller_.credentials, inode, kSearch);
}

Result<> Walker::step_up() {
    RefPtr<Mount> before(place_.mount());
    for (;;) {
        if ((caller_.resolve & kResolveBeneath) && place_ == base_) return Errno::kXDEV;
        if (place_ == root()) break;
        if (place_.mount().root() == &place_.dentry()) {
            if (!place_.mount().place.is_set()) break;
            place_ = Path(place_.mount().place);
            continue;
        }
        if (!place_.dentry().parent()) break;
        place_ = Path(RefPtr<Mount>(place_.mount()), place_.dentry().parent());
        break;
    }
    cross_mounts(place_);
    return stay_in_mount(*before);
}

Result<Path> Walker::step(std::string_view name) {
    RefPtr<Dentry> child = TRY(lookup_child(place_.dentry(), name, DirectoryLock::kTake));
    Path found(RefPtr<Mount>(place_.mount()), std::move(child));
    cross_mounts(found);
    if ((caller_.resolve & kResolveNoXdev) && &found.mount() != &place_.mount()) return Errno::kXDEV;
    return found;
}

Result<> Walker::to_parent() {
    for (;;) {
        size_t at = 0;
        while (at < rest_.size() && rest_[at] == '/') ++at;
        if (at == rest_.size()) {  // "/" alone
            last_ = {}, last_kind_ = Last::kRoot, trailing_slash_ = false;
            return {};
        }
        TRY(enter_directory());
        size_t end = at;
        while (end < rest_.size() && rest_[end] != '/') ++end;
        const std::string_view name = rest_.substr(at, end - at);
        size_t next = end;
        while (next < rest_.size() && rest_[next] == '/') ++next;
        last_kind_ = name == "." ? Last::kDot : name == ".." ? Last::kDotDot : Last::kNormal;
        if (next == rest_.size()) {
            last_ = name, trailing_slash_ = next > end;
            return {};
        }
        rest_ = rest_.substr(end);
        if (last_kind_ == Last::kDot) continue;
        if (last_kind_ == Last::kDotDot) {
            TRY(step_up());
            continue;
        }
        Path found = TRY(step(name));
        if (found.dentry().is_negative()) return Errno::kNOENT;
        if (!found.inode().is_link()) {
            place_ = std::move(found);
            continue;
        }
        String kept;  // of what follows the link; rest_ may point into buffer_
        TRY(follow_into(found, rest_, kept));
    }
}

Result<> Walker::follow_into(const Path& link, std::string_view after, String& kept) {
    if (++links_ > kMaxLinks || (caller_.resolve & kResolveNoSymlinks)) return Errno::kLOOP;
    if (link.mount().flags & kMsNosymfollow) return Errno::kLOOP;
    Inode& inode = link.inode();
    if (inode.is_magic_link()) {
        if (caller_.resolve & kResolveNoMagiclinks) return Errno::kLOOP;
        if (caller_.resolve & (kResolveBeneath | kResolveInRoot)) return Errno::kXDEV;
        RefPtr<Mount> before(place_.mount());
        place_ = TRY(inode.follow_magic_link());
        TRY(stay_in_mount(*before));
        magic_ = true;
        kept = TRY(String::create(after));
    } else {
        magic_ = false;
        kept = TRY(inode.read_link());
        if (kept.empty()) return Errno::kNOENT;
        if (kept.c_str()[0] == '/') TRY(go_to_root());
        TRY(kept.append(after));
    }
    std::swap(buffer_, kept);
    rest_ = buffer_;
    return {};
}

Result<Path> Walker::lookup_last() {
    switch (last_kind_) {
        case Last::kRoot:
        case Last::kDot: return Path(place_);
        case Last::kDotDot: {
            TRY(step_up());
            return Path(place_);
        }
        case Last::kNormal: break;
    }
    return step(last_);
}

Result<bool> Walker::follow(const Path& link) {
    String kept;
    const std::string_view slash = trailing_slash_ ? "/" : "";
    TRY(follow_into(link, slash, kept));
    if (magic_) return true;
    TRY(to_parent());
    return false;
}

Result<Path> walk(const Caller& caller, const Path& base, std::string_view path, Follow follow_last) {
    Walker walker(caller, base);
    TRY(walker.start(path));
    TRY(walker.to_parent());
    for (;;) {
        const bool directory_wanted = walker.trailing_slash();
        Path found = TRY(walker.lookup_last());
        if (found.dentry().is_negative()) return Errno::kNOENT;
        if (found.inode().is_link() && (follow_last == Follow::kYes || directory_wanted)) {
            if (!TRY(walker.follow(found))) continue;
            found = walker.place();
        }
        if (directory_wanted && !found.inode().is_directory()) return Errno::kNOTDIR;
        if (!(caller.resolve & kResolveUnused)) found.mount().expiry_mark = false;
        return found;
    }
}

}  // namespace kvmsbx::vfs
