#include "guestkernel/vfs/mount_tree.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::vfs {

namespace {

bool is_removed(const Path& path) { return path.dentry().is_dropped() && path.dentry().parent(); }

// Where something can be mounted, and whether `root` can be mounted there.
Result<> check_place(const Path& place, const Inode& root) {
    if (is_removed(place)) return Errno::kNOENT;
    if (!place.mount().in_namespace) return Errno::kINVAL;
    return root.is_directory() == place.inode().is_directory() ? Result<>() : Result<>(Errno::kNOTDIR);
}

bool contains_unbindable(Mount& tree) {
    for (Mount* mount = &tree; mount; mount = next_in_tree(*mount, tree))
        if (mount->unbindable) return true;
    return false;
}

// `mount`, or a mount that it stands on directly or not.
bool stands_on(const Mount& mount, const Mount& ancestor) {
    for (const Mount* at = &mount;; at = &at->place.mount()) {
        if (at == &ancestor) return true;
        if (!at->place.is_set()) return false;
    }
}

bool is_reachable(const Path& path, const Path& from) {
    Path at(path);
    while (&at.mount() != &from.mount()) {
        if (!at.mount().place.is_set()) return false;
        at = Path(at.mount().place);
    }
    return at.dentry().is_below(from.dentry());
}

// The root of a tree that open_tree(2) or fsmount(2) made.
bool is_detached_root(const Mount& mount) { return mount.in_detached_tree && !mount.place.is_set(); }

Result<NewTree> copy_for_bind(const Path& from, CopyWhat what) {
    Mount& mount = from.mount();
    if (mount.unbindable || !(mount.in_namespace || mount.in_detached_tree)) return Errno::kINVAL;
    return copy_tree(mount, from.dentry(), CopyAs::kAsItIs, what);
}

Result<> graft(NewTree tree, const Path& place) {
    TRY(mount_and_propagate(tree.top(), place));
    (void)tree.release();
    return {};
}

}  // namespace

Result<> mount_file_system(RefPtr<Inode> root, std::string_view source, uint64_t flags, const Path& place) {
    if (is_removed(place)) return Errno::kNOENT;
    if (!place.mount().in_namespace) return Errno::kINVAL;
    if (is_mounted(place) && &place.mount().fs() == &root->fs()) return Errno::kBUSY;
    TRY(check_place(place, *root));
    RefPtr<Dentry> dentry = TRY(Dentry::create_root(std::move(root)));
    return graft(NewTree(TRY(make_mount(std::move(dentry), source, flags))), place);
}

Result<> bind_mount(const Path& from, const Path& place, CopyWhat what) {
    if (is_removed(place)) return Errno::kNOENT;
    if (!place.mount().in_namespace) return Errno::kINVAL;
    NewTree tree = TRY(copy_for_bind(from, what));
    TRY(check_place(place, from.inode()));
    return graft(std::move(tree), place);
}

Result<NewTree> copy_detached(const Path& from, CopyWhat what) {
    NewTree tree = TRY(copy_for_bind(from, what));
    enter_detached_tree(tree.top());
    return tree;
}

namespace {

class DetachedTreeFile final : public PathFile {
  public:
    explicit DetachedTreeFile(const Path& root) : PathFile(root, kOPath) {}
    ~DetachedTreeFile() override {
        if (is_detached_root(path_.mount())) dissolve(path_.mount());
    }
};

}  // namespace

Result<RefPtr<File>> open_detached(NewTree tree) {
    RefPtr<File> file = TRY(make_ref<DetachedTreeFile>(Path(RefPtr<Mount>(tree.top()), tree.top().root())));
    (void)tree.release();
    return file;
}

namespace {

// Whether what is mounted on `place` would propagate onto `mount`'s own root.
Result<bool> would_overmount(const Path& place, const Mount& mount) {
    if (mount.root() != &place.dentry()) return false;
    return propagates_to(place.mount(), mount);
}

Result<> check_beneath(const Path& from, const Path& place, const Path& task_root) {
    const Mount& top = place.mount();
    if (!top.place.is_set() || !is_mounted(place)) return Errno::kINVAL;
    if (&top == &task_root.mount() || !top.place.mount().place.is_set()) return Errno::kINVAL;
    if (stands_on(from.mount(), top)) return Errno::kINVAL;
    if (TRY(would_overmount(top.place, top))) return Errno::kINVAL;
    if (from.mount().in_namespace && TRY(would_overmount(top.place, from.mount()))) return Errno::kINVAL;
    return {};
}

}  // namespace

Result<> move_mount(const Path& from, const Path& place, MoveTo where, const Path& task_root) {
    Mount& mount = from.mount();
    if (is_removed(place)) return Errno::kNOENT;
    if (!place.mount().in_namespace) return Errno::kINVAL;
    const bool attached = mount.in_namespace && mount.place.is_set();
    if (!attached && !is_detached_root(mount)) return Errno::kINVAL;
    if (!is_mounted(from)) return Errno::kINVAL;
    if (from.inode().is_directory() != place.inode().is_directory()) return Errno::kINVAL;
    if (attached && mount.place.mount().peer_group != 0) return Errno::kINVAL;
    if (where == MoveTo::kBeneath) TRY(check_beneath(from, place, task_root));
    const Path target = where == MoveTo::kBeneath ? Path(place.mount().place) : Path(place);
    if (target.mount().peer_group != 0 && contains_unbindable(mount)) return Errno::kINVAL;
    if (stands_on(target.mount(), mount)) return Errno::kLOOP;
    return mount_and_propagate(mount, target);
}

Result<> join_groups(const Path& from, const Path& to) {
    const Mount& model = from.mount();
    Mount& mount = to.mount();
    if (!is_mounted(from) || !is_mounted(to)) return Errno::kINVAL;
    if (!(model.in_namespace || is_detached_root(model)) || !(mount.in_namespace || is_detached_root(mount)))
        return Errno::kINVAL;
    if (&model.fs() != &mount.fs() || !mount.root()->is_below(*model.root())) return Errno::kINVAL;
    if (mount.peer_group != 0 || mount.master_group != 0) return Errno::kINVAL;
    if (model.peer_group == 0 && model.master_group == 0) return Errno::kINVAL;
    mount.peer_group = model.peer_group;
    mount.master_group = model.master_group;
    if (model.peer_group != 0) mount.unbindable = false;
    return {};
}

namespace {

template <typename Visit>
void for_each_mount(Mount& top, CopyWhat what, Visit visit) {
    for (Mount* mount = &top; mount; mount = what == CopyWhat::kTree ? next_in_tree(*mount, top) : nullptr)
        visit(*mount);
}

}  // namespace

Result<> set_propagation(const Path& place, uint64_t type, CopyWhat what) {
    if (!is_mounted(place) || !place.mount().in_namespace) return Errno::kINVAL;
    for_each_mount(place.mount(), what, [type](Mount& mount) { change_propagation(mount, type); });
    return {};
}

Result<> change_flags(const Path& place, const FlagChange& change, CopyWhat what) {
    if (!is_mounted(place)) return Errno::kINVAL;
    if (!place.mount().in_namespace && !is_detached_root(place.mount())) return Errno::kINVAL;
    bool busy = false;
    for_each_mount(place.mount(), what, [&](Mount& mount) {
        const bool becomes_readonly = (change.set & kMsRdonly) && !(mount.flags & kMsRdonly);
        busy = busy || (becomes_readonly && mount.writers > 0);
    });
    if (busy) return Errno::kBUSY;
    for_each_mount(place.mount(), what, [&](Mount& mount) {
        mount.flags = (mount.flags & ~change.clear) | change.set;
        if (change.propagation) change_propagation(mount, change.propagation);
    });
    return {};
}

Result<> reconfigure(FileSystem& fs, bool readonly, std::string_view data) {
    if (readonly && !fs.readonly)
        for (const Mount& mount : all_mounts())
            if (&mount.fs() == &fs && mount.writers > 0) return Errno::kBUSY;
    TRY(fs.reconfigure(data));
    fs.readonly = readonly;
    return {};
}

Result<> unmount(Mount& mount, Unmount how, uint32_t held) {
    if (!mount.in_namespace) return Errno::kINVAL;
    const bool in_use = !mount.children.empty() || uses_of(mount) > held;
    if (how == Unmount::kExpired) {
        if (in_use) return Errno::kBUSY;
        if (!mount.expiry_mark) {
            mount.expiry_mark = true;
            return Errno::kAGAIN;
        }
    }
    if (!mount.place.is_set()) return Errno::kINVAL;
    if (how != Unmount::kLazily && (in_use || copies_are_busy(mount))) return Errno::kBUSY;
    return unmount_and_propagate(mount);
}

Result<> pivot_root(const Path& root, const Path& new_root, const Path& put_old) {
    Mount &root_mount = root.mount(), &new_mount = new_root.mount(), &old_mount = put_old.mount();
    const auto parent_is_shared = [](const Mount& mount) {
        return mount.place.is_set() && mount.place.mount().peer_group != 0;
    };
    if (is_removed(put_old)) return Errno::kNOENT;
    if (old_mount.peer_group != 0 || parent_is_shared(new_mount) || parent_is_shared(root_mount)) return Errno::kINVAL;
    if (!root_mount.in_namespace || !new_mount.in_namespace || !old_mount.in_namespace) return Errno::kINVAL;
    if (is_removed(new_root)) return Errno::kNOENT;
    if (&new_mount == &root_mount || &old_mount == &root_mount) return Errno::kBUSY;
    if (!is_mounted(root) || !root_mount.place.is_set()) return Errno::kINVAL;
    if (!is_mounted(new_root) || !new_mount.place.is_set()) return Errno::kINVAL;
    if (!is_reachable(put_old, new_root) || !is_reachable(new_root, root)) return Errno::kINVAL;
    const RefPtr<Mount> keep_root(root_mount), keep_new(new_mount);
    const Path root_place(root_mount.place);
    // Where put_old is new_root itself, the old root comes to stand on the new one.
    detach(new_mount);
    detach(root_mount);
    attach(root_mount, put_old);
    attach(new_mount, root_place);
    return {};
}

}  // namespace kvmsbx::vfs
