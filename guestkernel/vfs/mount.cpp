#include "guestkernel/vfs/mount.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/propagation.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

namespace {
List<Mount, &Mount::namespace_hook> mounts;  // by id
List<Mount, &Mount::all_hook> all;
RefPtr<Mount> absolute_root;
size_t mounts_in_namespace;
int last_id;

void insert_by_id(Mount& mount) {
    auto it = mounts.end();
    while (it != mounts.begin()) {
        auto before = it;
        --before;
        if (before->id < mount.id) break;
        it = before;
    }
    mounts.insert(it, mount);
}

}  // namespace

uint64_t mount_flags_of(uint64_t ms_flags) {
    uint64_t flags = ms_flags & kMountFlagMask & ~kMsRelatime;
    if (ms_flags & kMsStrictatime) return flags & ~kMsNoatime;
    return flags & kMsNoatime ? flags : flags | kMsRelatime;
}

Mount::Mount(RefPtr<FileSystem> fs, RefPtr<Dentry> root, uint64_t flags)
    : id(++last_id), flags(flags), fs_(std::move(fs)), root_(std::move(root)) {
    all.push_back(*this);
}
Mount::~Mount() = default;

Mount* mount_on(const Path& place) {
    if (place.dentry().mounts == 0) return nullptr;
    for (Mount& child : place.mount().children)
        if (&child.place.dentry() == &place.dentry()) return &child;
    return nullptr;
}

Path topmost(Path place) {
    while (Mount* above = mount_on(place)) place = Path(RefPtr<Mount>(*above), above->root());
    return place;
}

Result<RefPtr<Mount>> make_mount(RefPtr<Dentry> root, std::string_view source, uint64_t flags) {
    RefPtr<FileSystem> fs(root->inode()->fs());
    auto mount = TRY(make_ref<Mount>(std::move(fs), std::move(root), flags));
    mount->source = TRY(String::create(source));
    return mount;
}

Result<RefPtr<Mount>> add_mount(RefPtr<Dentry> root, const Path& place, std::string_view source, uint64_t flags) {
    RefPtr<Mount> mount = TRY(make_mount(std::move(root), source, flags));
    if (place.is_set())
        attach(*mount, topmost(place));
    else
        absolute_root = mount;
    enter_namespace(*mount);
    return mount;
}

void attach(Mount& mount, const Path& place) {
    VERIFY(!mount.place.is_set());
    mount.place = place;
    ++place.dentry().mounts;
    mount.ref();  // the parent's
    place.mount().children.push_back(mount);
}

void detach(Mount& mount) {
    VERIFY(mount.place.is_set());
    mount.child_hook.unlink();
    --mount.place.dentry().mounts;
    mount.place = Path();
    mount.unref();
}

Mount* next_in_tree(Mount& mount, const Mount& top) {
    if (!mount.children.empty()) return &mount.children.front();
    for (Mount* at = &mount; at != &top; at = &at->place.mount()) {
        auto& siblings = at->place.mount().children;
        auto next = ++siblings.iterator_to(*at);
        if (next != siblings.end()) return &*next;
    }
    return nullptr;
}

void enter_namespace(Mount& top) {
    for (Mount* mount = &top; mount; mount = next_in_tree(*mount, top)) {
        mount->in_detached_tree = false;
        if (mount->in_namespace) continue;
        mount->in_namespace = true;
        ++mounts_in_namespace;
        insert_by_id(*mount);
    }
}

void enter_detached_tree(Mount& top) {
    for (Mount* mount = &top; mount; mount = next_in_tree(*mount, top)) mount->in_detached_tree = true;
}

void forget(Mount& mount) {
    change_propagation(mount, kMsPrivate);
    mount.in_detached_tree = false;
    if (!mount.in_namespace) return;
    mount.in_namespace = false;
    --mounts_in_namespace;
    mount.namespace_hook.unlink();
    if (mount_removed) mount_removed(mount);
}

void dissolve(Mount& top) {
    const RefPtr<Mount> keep(top);
    for (;;) {
        Mount* leaf = &top;
        while (!leaf->children.empty()) leaf = &leaf->children.back();
        const RefPtr<Mount> going(*leaf);
        forget(*leaf);
        if (leaf->place.is_set()) detach(*leaf);
        if (leaf == &top) return;
    }
}

Mount* first_mount() { return mounts.empty() ? nullptr : &mounts.front(); }

Mount* next_mount(Mount& mount) {
    if (!mount.namespace_hook.is_linked()) return nullptr;
    auto it = ++mounts.iterator_to(mount);
    return it == mounts.end() ? nullptr : &*it;
}

size_t mount_count() { return mounts_in_namespace; }
List<Mount, &Mount::all_hook>& all_mounts() { return all; }

bool is_mount_point(const Dentry& dentry) {
    if (dentry.mounts == 0) return false;
    for (const Mount& mount : mounts)
        if (mount.place.is_set() && &mount.place.dentry() == &dentry) return true;
    return false;
}

void detach_mounts_on(Dentry& dentry) {
    while (dentry.mounts > 0) {
        Mount* found = nullptr;
        for (Mount& mount : all)
            if (mount.place.is_set() && &mount.place.dentry() == &dentry) found = &mount;
        if (!found) return;
        dissolve(*found);
    }
}

bool is_visible(const Mount& mount, const Path& root) {
    const Mount* at = &mount;
    const Dentry* dentry = mount.root().get();
    while (at != &root.mount()) {
        if (!at->place.is_set()) return false;
        dentry = &at->place.dentry();
        at = &at->place.mount();
    }
    return dentry->is_below(root.dentry());
}

Result<String> path_inside(const Dentry& dentry) {
    Vector<std::string_view> names;
    for (const Dentry* at = &dentry; at->parent(); at = at->parent().get()) TRY(names.push_back(at->name()));
    String text;
    for (size_t i = names.size(); i > 0; --i) {
        TRY(text.append('/'));
        TRY(text.append(names[i - 1]));
    }
    if (text.empty()) TRY(text.append('/'));
    return text;
}

Path root_path() {
    VERIFY(absolute_root);
    return topmost(Path(absolute_root, absolute_root->root()));
}

}  // namespace kvmsbx::vfs
