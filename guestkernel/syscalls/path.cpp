#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/vfs/namei.hpp"
#include "guestkernel/vfs/walker.hpp"

namespace kvmsbx::syscalls {

using vfs::Follow;
using vfs::kAtFdcwd;

Result<int64_t> sys_mkdirat(Task& task, DirFd directory, UserString path, Mode mode) {
    const NameAt name = TRY(name_at(task, directory, path));
    return done(vfs::make_directory(task.caller(), name.base, name.text, mode));
}
Result<int64_t> sys_mkdir(Task& task, UserString path, Mode mode) { return sys_mkdirat(task, {kAtFdcwd}, path, mode); }

Result<int64_t> sys_mknodat(Task& task, DirFd directory, UserString path, Mode mode, uint32_t device) {
    const NameAt name = TRY(name_at(task, directory, path));
    TRY(vfs::make_node(task.caller(), name.base, name.text, mode, device));
    return int64_t{0};
}
Result<int64_t> sys_mknod(Task& task, UserString path, Mode mode, uint32_t device) {
    return sys_mknodat(task, {kAtFdcwd}, path, mode, device);
}

Result<int64_t> sys_unlinkat(Task& task, DirFd directory, UserString path, Flags flags) {
    if (flags & ~kAtRemovedir) return Errno::kINVAL;
    const NameAt name = TRY(name_at(task, directory, path));
    if (flags & kAtRemovedir) return done(vfs::remove_directory(task.caller(), name.base, name.text));
    return done(vfs::unlink(task.caller(), name.base, name.text));
}
Result<int64_t> sys_unlink(Task& task, UserString path) { return sys_unlinkat(task, {kAtFdcwd}, path, {0}); }
Result<int64_t> sys_rmdir(Task& task, UserString path) { return sys_unlinkat(task, {kAtFdcwd}, path, {kAtRemovedir}); }

Result<int64_t> sys_renameat2(Task& task, DirFd directory, UserString path, DirFd new_directory, UserString new_path,
                              Flags flags) {
    constexpr uint64_t kNoReplace = 1, kExchange = 2, kWhiteout = 4;
    if (flags & ~(kNoReplace | kExchange | kWhiteout)) return Errno::kINVAL;
    if ((flags & kExchange) && (flags & (kNoReplace | kWhiteout))) return Errno::kINVAL;
    const NameAt from = TRY(name_at(task, directory, path)), to = TRY(name_at(task, new_directory, new_path));
    return done(vfs::rename(task.caller(), from.base, from.text, to.base, to.text, static_cast<uint32_t>(flags.value)));
}
Result<int64_t> sys_renameat(Task& task, DirFd directory, UserString path, DirFd new_directory, UserString new_path) {
    return sys_renameat2(task, directory, path, new_directory, new_path, {0});
}
Result<int64_t> sys_rename(Task& task, UserString path, UserString new_path) {
    return sys_renameat2(task, {kAtFdcwd}, path, {kAtFdcwd}, new_path, {0});
}

Result<int64_t> sys_linkat(Task& task, DirFd directory, UserString path, DirFd new_directory, UserString new_path,
                           Flags flags) {
    if (flags & ~(kAtSymlinkFollow | kAtEmptyPath)) return Errno::kINVAL;
    if ((flags & kAtEmptyPath) && !task.credentials().has(auth::Capability::kDacReadSearch)) return Errno::kNOENT;
    const vfs::Path existing =
        TRY(path_at(task, directory, path, flags, flags & kAtSymlinkFollow ? Follow::kYes : Follow::kNo));
    const NameAt to = TRY(name_at(task, new_directory, new_path));
    return done(vfs::make_link(task.caller(), existing, to.base, to.text));
}
Result<int64_t> sys_link(Task& task, UserString path, UserString new_path) {
    return sys_linkat(task, {kAtFdcwd}, path, {kAtFdcwd}, new_path, {0});
}

Result<int64_t> sys_symlinkat(Task& task, UserString target, DirFd directory, UserString path) {
    const String text = TRY(target.load(task.space()));
    const NameAt name = TRY(name_at(task, directory, path));
    return done(vfs::make_symlink(task.caller(), name.base, name.text, text));
}
Result<int64_t> sys_symlink(Task& task, UserString target, UserString path) {
    return sys_symlinkat(task, target, {kAtFdcwd}, path);
}

Result<int64_t> sys_readlinkat(Task& task, DirFd directory, UserString path, UserBuffer buffer, int32_t size) {
    if (size <= 0) return Errno::kINVAL;
    const NameAt name = TRY(name_at(task, directory, path));
    const bool by_descriptor = name.text.empty();  // of an O_PATH descriptor for a link
    vfs::Path found = name.base;
    if (!by_descriptor) found = TRY(vfs::walk(task.caller(), name.base, name.text, Follow::kNo));
    if (!found.inode().is_link()) return by_descriptor ? Errno::kNOENT : Errno::kINVAL;
    const String target = TRY(found.inode().read_link());
    const size_t count = target.size() < static_cast<size_t>(size) ? target.size() : static_cast<size_t>(size);
    TRY(mm::copy_to_user(task.space(), buffer.address, target.c_str(), count));
    return static_cast<int64_t>(count);
}
Result<int64_t> sys_readlink(Task& task, UserString path, UserBuffer buffer, int32_t size) {
    return sys_readlinkat(task, {kAtFdcwd}, path, buffer, size);
}

namespace {

Result<> check_enter(Task& task, const vfs::Path& path) {
    if (!path.inode().is_directory()) return Errno::kNOTDIR;
    return vfs::check_permission(task.credentials(), path.inode(), 1);
}

}  // namespace

Result<int64_t> sys_chdir(Task& task, UserString path) {
    vfs::Path found = TRY(path_at(task, kAtFdcwd, path, 0, Follow::kYes));
    TRY(check_enter(task, found));
    task.fs().cwd = std::move(found);
    return int64_t{0};
}

Result<int64_t> sys_fchdir(Task& task, Fd fd) {
    RefPtr<vfs::File> file = TRY(file_or_path_of(task, fd));
    if (!file->path()) return Errno::kNOTDIR;
    vfs::Path found = *file->path();
    TRY(check_enter(task, found));
    task.fs().cwd = std::move(found);
    return int64_t{0};
}

Result<int64_t> sys_chroot(Task& task, UserString path) {
    vfs::Path found = TRY(path_at(task, kAtFdcwd, path, 0, Follow::kYes));
    TRY(check_enter(task, found));
    if (!task.credentials().has(auth::Capability::kSysChroot)) return Errno::kPERM;
    task.fs().root = std::move(found);
    return int64_t{0};
}

Result<int64_t> sys_getcwd(Task& task, UserBuffer buffer, size_t size) {
    const vfs::Dentry& directory = task.fs().cwd.dentry();
    if (directory.is_dropped() && directory.parent()) return Errno::kNOENT;
    const String text = TRY(vfs::path_string(task.fs().cwd, task.fs().root));
    if (text.size() + 1 > vfs::kMaxPath) return Errno::kNAMETOOLONG;
    if (text.size() + 1 > size) return Errno::kRANGE;
    TRY(mm::copy_to_user(task.space(), buffer.address, text.c_str(), text.size() + 1));
    return static_cast<int64_t>(text.size() + 1);
}

Result<int64_t> sys_umask(Task& task, Mode mask) {
    const uint32_t old = task.fs().umask;
    task.fs().umask = mask & 0777;
    return int64_t{old};
}

}  // namespace kvmsbx::syscalls
