// The mount tree of the application spec.
#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/namei.hpp"

namespace kvmsbx::vfs {

namespace {

// The place; its missing parts are made, the last one as a file where a file is to be mounted.
Result<Path> obtain_place(const Caller& caller, std::string_view path, bool directory) {
    if (directory) return obtain_directory(caller, path);
    const size_t slash = path.rfind('/');
    if (slash != path.npos && slash > 0) TRY(obtain_directory(caller, path.substr(0, slash)));
    Result<Path> found = walk(caller, caller.fs.root, path, Follow::kYes);
    if (found.is_ok() || found.error() != Errno::kNOENT) return found;
    return make_node(caller, caller.fs.root, path, kModeRegular | 0644, 0);
}

}  // namespace

Result<Path> obtain_directory(const Caller& caller, std::string_view path) {
    for (size_t end = 1; end <= path.size(); ++end) {
        if (end < path.size() && path[end] != '/') continue;
        const std::string_view part = path.substr(0, end);
        Result<Path> found = walk(caller, caller.fs.root, part, Follow::kYes);
        if (found.is_ok()) continue;
        if (found.error() != Errno::kNOENT) return found.error();
        TRY(make_directory(caller, caller.fs.root, part, 0755));
    }
    return walk(caller, caller.fs.root, path, Follow::kYes);
}

Result<RefPtr<FsContext>> mount_root(const SpecMount& root) {
    RefPtr<Inode> inode = TRY(make_file_system(root.type, {root.source, root.data, root.flags}));
    RefPtr<Dentry> dentry = TRY(Dentry::create_root(std::move(inode)));
    RefPtr<Mount> hidden = TRY(add_mount(dentry, Path(), "rootfs", 0));
    RefPtr<Mount> mount = TRY(add_mount(dentry, Path(hidden, dentry), root.source.empty() ? "root" : root.source,
                                        mount_flags_of(root.flags)));
    auto context = TRY(make_ref<FsContext>());
    context->root = Path(mount, mount->root());
    context->cwd = context->root;
    return context;
}

Result<> mount_spec(FsContext& context, const SpecMount& mount) {
    RefPtr<auth::Credentials> credentials = TRY(auth::kernel_credentials());
    const Caller caller{context, *credentials};
    std::string_view destination = mount.destination;
    while (destination.size() > 1 && destination.back() == '/') destination.remove_suffix(1);
    const std::string_view type = mount.type == "tmpfs" && destination == "/dev" ? "devtmpfs" : mount.type;
    RefPtr<Inode> root = TRY(make_file_system(type, {mount.source, mount.data, mount.flags}));
    const Path place = TRY(obtain_place(caller, destination, root->is_directory()));
    if (root->is_directory() != place.inode().is_directory()) return Errno::kNOTDIR;
    // Files of the bundle are a bind mount of the host's: it is the mount that is read-only.
    if (type != "9p" && (mount.flags & kMsRdonly)) root->fs().readonly = true;
    RefPtr<Dentry> dentry = TRY(Dentry::create_root(std::move(root)));
    TRY(add_mount(std::move(dentry), place, mount.source.empty() ? mount.type : mount.source,
                  mount_flags_of(mount.flags)));
    return {};
}

Result<> make_path_readonly(FsContext& context, std::string_view path) {
    RefPtr<auth::Credentials> credentials = TRY(auth::kernel_credentials());
    Result<Path> place = walk({context, *credentials}, context.root, path, Follow::kYes);
    if (place.is_error()) return place.error() == Errno::kNOENT ? Result<>() : Result<>(place.error());
    const Mount& below = place->mount();
    TRY(add_mount(RefPtr<Dentry>(place->dentry()), *place, below.source, below.flags | kMsRdonly));
    return {};
}

Result<> mask_path(FsContext& context, std::string_view path) {
    RefPtr<auth::Credentials> credentials = TRY(auth::kernel_credentials());
    const Caller caller{context, *credentials};
    Result<Path> place = walk(caller, context.root, path, Follow::kYes);
    if (place.is_error())
        return place.error() == Errno::kNOENT || place.error() == Errno::kNOTDIR ? Result<>() : Result<>(place.error());
    if (place->inode().is_directory()) {
        RefPtr<Inode> root = TRY(make_file_system("tmpfs", {"tmpfs", "size=0k", kMsRdonly}));
        TRY(add_mount(TRY(Dentry::create_root(std::move(root))), *place, "tmpfs", kMsRdonly));
        return {};
    }
    const Path null = TRY(walk(caller, context.root, "/dev/null", Follow::kYes));
    TRY(add_mount(RefPtr<Dentry>(null.dentry()), *place, "tmpfs", 0));
    return {};
}

}  // namespace kvmsbx::vfs
