// The mount tree of the application spec.
#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/copy_tree.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/mount_point.hpp"

namespace kvmsbx::vfs {

namespace {

// runc's default for a tmpfs: the mode of the folder that it hides.
Result<String> with_mode_of(std::string_view data, const ObtainedPlace& place) {
    std::string_view ignored;
    if (place.made || mount_option(data, "mode", ignored)) return String::create(data);
    const uint32_t mode = TRY(place.path.inode().ownership()).mode & 07777;
    StringText text;
    text.put("mode=");
    for (int shift = 9; shift >= 0; shift -= 3) format_to(text, "{}", mode >> shift & 7);
    if (!data.empty()) format_to(text, ",{}", data);
    return text.take();
}

// All types but 9p.
Result<RefPtr<Inode>> make_root(std::string_view type, const SpecMount& mount, String options,
                                const ObtainedPlace& place) {
    if (mount.type == "tmpfs") options = TRY(with_mode_of(options.view(), place));
    TRY(check_mount_options(type, options.view()));
    return make_file_system(type, {mount.source, options.view(), mount.flags});
}

}  // namespace

Result<RefPtr<FsContext>> mount_root(const SpecMount& root) {
    RefPtr<Inode> inode = TRY(make_file_system(root.type, {root.source, root.data, root.flags, root.shared_access}));
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
    const bool on_dev = mount.destination == "/dev" || mount.destination == "/dev/";
    const std::string_view type = mount.type == "tmpfs" && on_dev ? "devtmpfs" : mount.type;
    bool readonly = mount.flags & kMsRdonly;
    String options;
    TRY(split_super_flags(mount.data, readonly, options));
    RefPtr<Inode> root;
    if (type == "9p") root = TRY(make_file_system(type, {mount.source, mount.data, mount.flags, mount.shared_access}));
    const bool is_directory = !root || root->is_directory();
    const ObtainedPlace place =
        TRY(obtain_place(caller, mount.destination, is_directory ? PlaceKind::kDirectory : PlaceKind::kFile));
    if (is_directory != place.path.inode().is_directory()) return Errno::kNOTDIR;
    if (!root) root = TRY(make_root(type, mount, std::move(options), place));
    FileSystem& file_system = root->fs();
    RefPtr<Dentry> dentry = TRY(Dentry::create_root(std::move(root)));
    RefPtr<Mount> made = TRY(make_mount(std::move(dentry), mount.source.empty() ? mount.type : mount.source, 0));
    if (mount.copy_up && !place.made) TRY(copy_contents(caller, place.path, Path(made, made->root())));
    made->flags = mount_flags_of(mount.flags);
    // Files of the bundle are a bind mount of the host's: it is the mount that is read-only.
    if (type != "9p" && readonly) file_system.readonly = true;
    attach(*made, topmost(place.path));
    enter_namespace(*made);
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
