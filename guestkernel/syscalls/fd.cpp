#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"

namespace kvmsbx::syscalls {

using vfs::File;

Result<int64_t> sys_openat(Task& task, DirFd directory, UserString path, OpenFlags flags, Mode mode) {
    const NameAt name = TRY(name_at(task, directory, path));
    TRY(task.files().check_room(task.limit(task::kRlimitNofile)));
    RefPtr<File> file = TRY(vfs::open(task.caller(), name.base, name.text, flags, mode & 07777));
    return install(task, std::move(file), flags & vfs::kOCloexec);
}

Result<int64_t> sys_open(Task& task, UserString path, OpenFlags flags, Mode mode) {
    return sys_openat(task, {vfs::kAtFdcwd}, path, flags, mode);
}

Result<int64_t> sys_creat(Task& task, UserString path, Mode mode) {
    return sys_openat(task, {vfs::kAtFdcwd}, path, {vfs::kOCreat | vfs::kOWronly | vfs::kOTrunc}, mode);
}

namespace {

// build_open_flags() of Linux: what openat(2) ignores is an error here.
Result<> check_how(const FileOpenHow& how) {
    constexpr uint64_t kKnownFlags = 037777703, kKnownResolve = 0x3f, kTmpfileBit = vfs::kOTmpfile & ~vfs::kODirectory;
    constexpr uint64_t kWithPath = vfs::kOPath | vfs::kODirectory | vfs::kONofollow | vfs::kOCloexec;
    if ((how.flags & ~kKnownFlags) || (how.resolve & ~kKnownResolve)) return Errno::kINVAL;
    if ((how.resolve & vfs::kResolveBeneath) && (how.resolve & vfs::kResolveInRoot)) return Errno::kINVAL;
    const bool creates = how.flags & (vfs::kOCreat | kTmpfileBit);
    if ((how.mode & ~07777ULL) || (how.mode != 0 && !creates)) return Errno::kINVAL;
    if ((how.flags & vfs::kODirectory) && (how.flags & vfs::kOCreat)) return Errno::kINVAL;
    if ((how.flags & kTmpfileBit) && (how.flags & vfs::kOTmpfile) != vfs::kOTmpfile) return Errno::kINVAL;
    if ((how.flags & kTmpfileBit) && (how.flags & vfs::kOAccMode) == vfs::kORdonly) return Errno::kINVAL;
    if ((how.flags & vfs::kOPath) && (how.flags & ~kWithPath)) return Errno::kINVAL;
    // A walk here may always have to ask a server.
    return how.resolve & vfs::kResolveCached ? Result<>(Errno::kAGAIN) : Result<>();
}

}  // namespace

Result<int64_t> sys_openat2(Task& task, DirFd directory, UserString path, UserIn<FileOpenHow> how, size_t size) {
    if (size < sizeof(FileOpenHow)) return Errno::kINVAL;
    if (size > mm::kPageSize) return Errno::k2BIG;
    const FileOpenHow wanted = TRY(how.load(task.space()));
    for (size_t at = sizeof wanted; at < size; ++at)
        if (TRY(UserIn<uint8_t>{how.address + at}.load(task.space())) != 0) return Errno::k2BIG;
    TRY(check_how(wanted));
    const auto flags = static_cast<uint32_t>(wanted.flags);
    const NameAt name = TRY(name_at(task, directory, path, static_cast<uint32_t>(wanted.resolve)));
    TRY(task.files().check_room(task.limit(task::kRlimitNofile)));
    vfs::Caller caller = task.caller();
    caller.resolve = static_cast<uint32_t>(wanted.resolve);
    RefPtr<File> file = TRY(vfs::open(caller, name.base, name.text, flags, static_cast<uint32_t>(wanted.mode)));
    return install(task, std::move(file), flags & vfs::kOCloexec);
}

Result<int64_t> sys_close(Task& task, Fd fd) { return done(task.files().close(fd)); }

Result<int64_t> sys_close_range(Task& task, uint32_t first, uint32_t last, Flags flags) {
    constexpr uint64_t kUnshare = 2, kCloexec = 4;
    if ((flags & ~(kUnshare | kCloexec)) || first > last) return Errno::kINVAL;
    if ((flags & kUnshare) && task.files().reference_count() > 1) task.files_ = TRY(task.files().clone());
    if (!(flags & kCloexec)) return done(task.files().close_range(first, last));
    if (first > 0x7fffffff) return int64_t{0};
    for (int fd = task.files().next_open(static_cast<int>(first)); fd >= 0 && static_cast<uint32_t>(fd) <= last;
         fd = task.files().next_open(fd + 1))
        TRY(task.files().set_close_on_exec(fd, true));
    return int64_t{0};
}

Result<int64_t> sys_dup(Task& task, Fd fd) { return install(task, TRY(file_or_path_of(task, fd)), false); }

Result<int64_t> sys_dup2(Task& task, Fd fd, Fd new_fd) {
    RefPtr<File> file = TRY(file_or_path_of(task, fd));
    if (fd == new_fd) return int64_t{new_fd};
    TRY(task.files().install_at(new_fd, std::move(file), false, task.limit(task::kRlimitNofile)));
    return int64_t{new_fd};
}

Result<int64_t> sys_dup3(Task& task, Fd fd, Fd new_fd, OpenFlags flags) {
    if ((flags & ~vfs::kOCloexec) || fd == new_fd) return Errno::kINVAL;
    RefPtr<File> file = TRY(file_or_path_of(task, fd));
    TRY(task.files().install_at(new_fd, std::move(file), flags & vfs::kOCloexec, task.limit(task::kRlimitNofile)));
    return int64_t{new_fd};
}

Result<int64_t> sys_pipe2(Task& task, UserOut<FilePair> fds, OpenFlags flags) {
    fs::PipeEnds ends = TRY(fs::make_pipe(flags, task.credentials()));
    const bool close_on_exec = flags & vfs::kOCloexec;
    FilePair pair;
    pair.reader = static_cast<int32_t>(TRY(install(task, std::move(ends.reader), close_on_exec)));
    Result<int64_t> writer = install(task, std::move(ends.writer), close_on_exec);
    if (writer.is_ok()) {
        pair.writer = static_cast<int32_t>(writer.value());
        Result<> stored = fds.store(task.space(), pair);
        if (stored.is_ok()) return int64_t{0};
        ignore(task.files().close(pair.writer), "another thread may have closed it already");
        writer = stored.error();
    }
    ignore(task.files().close(pair.reader), "another thread may have closed it already");
    return writer;
}

Result<int64_t> sys_pipe(Task& task, UserOut<FilePair> fds) { return sys_pipe2(task, fds, {0}); }

Result<int64_t> sys_memfd_create(Task& task, UserString name, Flags flags) {
    constexpr uint64_t kCloexec = 1, kAllowSealing = 2, kNoexecSeal = 8, kExec = 16;
    constexpr uint32_t kSealSeal = 1, kSealExec = 0x20;
    constexpr size_t kNameLimit = 250;
    if ((flags & ~(kCloexec | kAllowSealing | kNoexecSeal | kExec)) ||
        (flags & (kNoexecSeal | kExec)) == (kNoexecSeal | kExec))
        return Errno::kINVAL;
    Result<String> text = name.load(task.space(), kNameLimit);
    if (text.is_error()) return text.error() == Errno::kNAMETOOLONG ? Errno::kINVAL : text.error();
    RefPtr<File> file = TRY(fs::make_memfd(text.value(), task.credentials()));
    if (flags & kNoexecSeal) {
        vfs::AttributeChange change;
        change.valid = vfs::AttributeChange::kMode, change.mode = 0666;
        TRY(file->inode()->set_attributes(change));
        TRY(fs::add_seals(*file, kSealExec));
    }
    if (!(flags & (kAllowSealing | kNoexecSeal))) TRY(fs::add_seals(*file, kSealSeal));
    return install(task, std::move(file), flags & kCloexec);
}

}  // namespace kvmsbx::syscalls
