// mount(2), umount2(2), pivot_root(2).
#include "guestkernel/syscalls/mount_helpers.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::syscalls {

using vfs::CopyWhat;
using vfs::Follow;
using vfs::kAtFdcwd;
using vfs::Path;

Result<String> load_mount_text(Task& task, UserString text, size_t limit) {
    Result<String> loaded = text.load(task.space(), limit);
    if (loaded.is_error() && loaded.error() == Errno::kNAMETOOLONG) return Errno::kINVAL;
    return loaded;
}

namespace {

constexpr uint64_t kPropagation = vfs::kMsUnbindable | vfs::kMsPrivate | vfs::kMsSlave | vfs::kMsShared;

struct MountTexts {
    String source, type, data;
};

Result<MountTexts> load_texts(Task& task, UserString source, UserString type, UserString data) {
    MountTexts texts;
    if (type) texts.type = TRY(load_mount_text(task, type));
    if (source) texts.source = TRY(load_mount_text(task, source));
    if (data) texts.data = TRY(load_mount_text(task, data));
    return texts;
}

CopyWhat what_of(uint64_t flags) { return flags & vfs::kMsRec ? CopyWhat::kTree : CopyWhat::kOneMount; }

Result<Path> source_path(Task& task, const String& source) {
    if (source.empty()) return Errno::kINVAL;
    return vfs::walk(task.caller(), task.fs().cwd, source, Follow::kYes);
}

// The mount's own flags. When access times are not spoken of, they stay.
vfs::FlagChange remount_change(const Path& place, uint64_t flags) {
    uint64_t set = vfs::mount_flags_of(flags);
    if (!(flags & (vfs::kAtimeFlagMask | vfs::kMsStrictatime)))
        set = (set & ~vfs::kAtimeFlagMask) | (place.mount().flags & vfs::kAtimeFlagMask);
    return {vfs::kMountFlagMask, set, 0};
}

Result<> remount(const Path& place, uint64_t flags, std::string_view data) {
    if (!place.mount().in_namespace || !vfs::is_mounted(place)) return Errno::kINVAL;
    bool readonly = flags & vfs::kMsRdonly;
    String options;
    TRY(vfs::split_super_flags(data, readonly, options));
    TRY(vfs::check_mount_options(place.mount().fs().type_name(), options));
    TRY(vfs::reconfigure(place.mount().fs(), readonly, options));
    return vfs::change_flags(place, remount_change(place, flags), CopyWhat::kOneMount);
}

Result<> change_type(const Path& place, uint64_t flags) {
    const uint64_t type = flags & ~(vfs::kMsRec | vfs::kMsSilent);
    if ((type & ~kPropagation) || (type & (type - 1))) return Errno::kINVAL;
    return vfs::set_propagation(place, type, what_of(flags));
}

Result<> mount_new(const Path& place, uint64_t flags, const MountTexts& texts, bool has_type) {
    if (!has_type) return Errno::kINVAL;
    bool readonly = flags & vfs::kMsRdonly;
    String options;
    TRY(vfs::split_super_flags(texts.data, readonly, options));
    RefPtr<vfs::Inode> root = TRY(make_new_file_system(texts.type, texts.source, options, readonly));
    return vfs::mount_file_system(std::move(root), texts.source.empty() ? "none" : texts.source.view(),
                                  vfs::mount_flags_of(flags), place);
}

}  // namespace

Result<int64_t> sys_mount(Task& task, UserString source, UserString target, UserString type, Flags flags_argument,
                          UserString data) {
    constexpr uint64_t kMagicMask = 0xffff0000, kMagic = 0xc0ed0000, kNoUser = 1U << 31;
    const MountTexts texts = TRY(load_texts(task, source, type, data));
    const Path place = TRY(path_at(task, kAtFdcwd, target, 0, Follow::kYes));
    uint64_t flags = flags_argument;
    if ((flags & kMagicMask) == kMagic) flags &= ~kMagicMask;
    if (flags & kNoUser) return Errno::kINVAL;
    TRY(may_mount(task));
    if ((flags & (vfs::kMsRemount | vfs::kMsBind)) == (vfs::kMsRemount | vfs::kMsBind)) {
        if (!place.mount().in_namespace) return Errno::kINVAL;
        return done(vfs::change_flags(place, remount_change(place, flags), CopyWhat::kOneMount));
    }
    if (flags & vfs::kMsRemount) return done(remount(place, flags, texts.data));
    if (flags & vfs::kMsBind) return done(vfs::bind_mount(TRY(source_path(task, texts.source)), place, what_of(flags)));
    if (flags & kPropagation) return done(change_type(place, flags));
    if (flags & vfs::kMsMove) {
        const Path from = TRY(source_path(task, texts.source));
        return done(vfs::move_mount(from, place, vfs::MoveTo::kTop, task.fs().root));
    }
    return done(mount_new(place, flags, texts, static_cast<bool>(type)));
}

Result<int64_t> sys_umount2(Task& task, UserString target, Flags flags) {
    constexpr uint64_t kForce = 1, kDetach = 2, kExpire = 4, kNoFollow = 8;
    if (flags & ~(kForce | kDetach | kExpire | kNoFollow)) return Errno::kINVAL;
    const NameAt name = TRY(name_at(task, kAtFdcwd, target));
    vfs::Caller caller = task.caller();
    caller.resolve = vfs::kResolveUnused;
    RefPtr<vfs::Mount> mount;
    {
        const Path place = TRY(vfs::walk(caller, name.base, name.text, follow_unless(flags & kNoFollow)));
        TRY(may_mount(task));
        if (!vfs::is_mounted(place) || !place.mount().in_namespace) return Errno::kINVAL;
        mount = RefPtr<vfs::Mount>(place.mount());
    }
    const uint32_t held = 1 + (&name.base.mount() == mount.get() ? 1 : 0);
    const bool is_root = mount == &task.fs().root.mount();
    if (flags & kExpire) {
        if (is_root || (flags & (kForce | kDetach))) return Errno::kINVAL;
        return done(vfs::unmount(*mount, vfs::Unmount::kExpired, held));
    }
    // The task's own root cannot go; its file system becomes read-only instead.
    if (is_root && !(flags & kDetach)) return done(vfs::reconfigure(mount->fs(), true, {}));
    return done(vfs::unmount(*mount, flags & kDetach ? vfs::Unmount::kLazily : vfs::Unmount::kIdle, held));
}

namespace {

// Whose root or working directory was the old root gets the new one.
void move_tasks(const Path& root, const Path& new_root) {
    task::for_each_process([&](task::Process& process) {
        for (Task& task : process.threads) {
            if (!task.fs_) continue;
            if (task.fs().root == root) task.fs().root = new_root;
            if (task.fs().cwd == root) task.fs().cwd = new_root;
        }
    });
}

Result<Path> directory_at(Task& task, UserString path) {
    Path found = TRY(path_at(task, kAtFdcwd, path, 0, Follow::kYes));
    if (!found.inode().is_directory()) return Errno::kNOTDIR;
    return found;
}

}  // namespace

Result<int64_t> sys_pivot_root(Task& task, UserString new_root, UserString put_old) {
    TRY(may_mount(task));
    const Path to = TRY(directory_at(task, new_root));
    const Path old = TRY(directory_at(task, put_old));
    const Path root(task.fs().root);
    TRY(vfs::pivot_root(root, to, old));
    move_tasks(root, to);
    return int64_t{0};
}

}  // namespace kvmsbx::syscalls
