#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/vfs/locks.hpp"

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

Result<int64_t> sys_openat2(Task& task, DirFd directory, UserString path, UserIn<FileOpenHow> how, size_t size) {
    if (size < sizeof(FileOpenHow)) return Errno::kINVAL;
    if (size > mm::kPageSize) return Errno::k2BIG;
    const FileOpenHow wanted = TRY(how.load(task.space()));
    for (size_t at = sizeof wanted; at < size; ++at)
        if (TRY(UserIn<uint8_t>{how.address + at}.load(task.space())) != 0) return Errno::k2BIG;
    constexpr uint64_t kKnown = 037777703;
    if ((wanted.flags & ~kKnown) || wanted.resolve != 0 || (wanted.mode & ~07777ULL)) return Errno::kINVAL;
    if (wanted.mode != 0 && !(wanted.flags & vfs::kOCreat)) return Errno::kINVAL;
    return sys_openat(task, directory, path, {static_cast<uint32_t>(wanted.flags)},
                      {static_cast<uint32_t>(wanted.mode)});
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

namespace {

enum FcntlCommand : int32_t {
    kDupfd = 0,
    kGetfd = 1,
    kSetfd = 2,
    kGetfl = 3,
    kSetfl = 4,
    kGetlk = 5,
    kSetlk = 6,
    kSetlkw = 7,
    kGetown = 9,
    kOfdGetlk = 36,
    kOfdSetlk = 37,
    kOfdSetlkw = 38,
    kDupfdCloexec = 1030,
    kSetpipeSize = 1031,
    kGetpipeSize = 1032,
    kAddSeals = 1033,
    kGetSeals = 1034,
};
constexpr uint64_t kFdCloexec = 1;

struct FileLock {  // struct flock
    int16_t type, whence;
    int32_t pad;
    int64_t start, length;
    int32_t pid, pad2;
};
static_assert(sizeof(FileLock) == 32);

Result<vfs::LockRange> lock_range(File& file, const FileLock& lock) {
    vfs::LockRange range;
    if (lock.type < 0 || lock.type > 2) return Errno::kINVAL;
    range.type = static_cast<vfs::LockType>(lock.type);
    int64_t base = 0;
    if (lock.whence == 1) base = static_cast<int64_t>(file.position);
    if (lock.whence == 2) base = static_cast<int64_t>(TRY(file.inode()->attributes()).size);
    if (lock.whence < 0 || lock.whence > 2) return Errno::kINVAL;
    int64_t start, end;
    if (__builtin_add_overflow(base, lock.start, &start)) return Errno::kOVERFLOW;
    if (__builtin_add_overflow(start, lock.length, &end)) return Errno::kOVERFLOW;
    if (lock.length < 0) std::swap(start, end);
    if (start < 0) return Errno::kINVAL;
    range.start = static_cast<uint64_t>(start);
    range.end = lock.length == 0 ? ~0ULL : static_cast<uint64_t>(end);
    return range;
}

Result<int64_t> get_lock(Task& task, File& file, UserInOut<FileLock> user, vfs::LockRange range, FileLock lock) {
    if (range.type == vfs::LockType::kUnlock) return Errno::kINVAL;
    const vfs::LockRange found = vfs::test_record_lock(*file.inode(), range);
    lock.type = static_cast<int16_t>(found.type);
    if (found.type != vfs::LockType::kUnlock) {
        lock.whence = 0, lock.start = static_cast<int64_t>(found.start), lock.pid = found.pid;
        lock.length = found.end == ~0ULL ? 0 : static_cast<int64_t>(found.end - found.start);
    }
    return done(user.store(task.space(), lock));
}

Result<int64_t> record_lock(Task& task, File& file, int32_t command, UserInOut<FileLock> user) {
    const bool by_file = command >= kOfdGetlk;
    const FileLock lock = TRY(user.load(task.space()));
    if (!file.inode()) return Errno::kBADF;
    if (by_file && lock.pid != 0) return Errno::kINVAL;
    vfs::LockRange range = TRY(lock_range(file, lock));
    range.owner = by_file ? static_cast<const void*>(&file) : static_cast<const void*>(&task.files());
    range.pid = by_file ? -1 : task.process().pid;
    if (command == kGetlk || command == kOfdGetlk) return get_lock(task, file, user, range, lock);
    if (range.type == vfs::LockType::kRead && !file.readable()) return Errno::kBADF;
    if (range.type == vfs::LockType::kWrite && !file.writable()) return Errno::kBADF;
    return done(vfs::set_record_lock(*file.inode(), range, command == kSetlkw || command == kOfdSetlkw));
}

Result<int64_t> duplicate(Task& task, RefPtr<File> file, uint64_t minimum, bool close_on_exec) {
    const uint64_t limit = task.limit(task::kRlimitNofile);
    if (minimum >= limit || minimum > 0x7fffffff) return Errno::kINVAL;
    return int64_t { TRY(task.files().install(std::move(file), close_on_exec, limit, static_cast<int>(minimum))) };
}

Result<int64_t> set_status_flags(Task& task, File& file, uint32_t wanted) {
    constexpr uint32_t kSettable = vfs::kOAppend | vfs::kONonblock | vfs::kODirect | vfs::kONoatime;
    if ((wanted & ~file.flags & vfs::kONoatime) && file.inode()) {
        const auth::Credentials& who = task.credentials();
        if (who.fsuid != TRY(file.inode()->ownership()).uid && !who.has(auth::Capability::kFowner)) return Errno::kPERM;
    }
    file.flags = (file.flags & ~kSettable) | (wanted & kSettable);
    return int64_t{0};
}

}  // namespace

Result<int64_t> sys_fcntl(Task& task, Fd fd, int32_t command, uint64_t argument) {
    RefPtr<File> file = TRY(file_or_path_of(task, fd));
    switch (command) {
        case kDupfd: return duplicate(task, std::move(file), argument, false);
        case kDupfdCloexec: return duplicate(task, std::move(file), argument, true);
        case kGetfd:
            return int64_t {
                TRY(task.files().close_on_exec(fd))
                ? 1 : 0
            };
        case kSetfd: return done(task.files().set_close_on_exec(fd, argument & kFdCloexec));
        case kGetfl: return int64_t{file->flags};
        default: break;
    }
    if (file->flags & vfs::kOPath) return Errno::kBADF;
    switch (command) {
        case kSetfl: return set_status_flags(task, *file, static_cast<uint32_t>(argument));
        case kGetlk:
        case kSetlk:
        case kSetlkw:
        case kOfdGetlk:
        case kOfdSetlk:
        case kOfdSetlkw: return record_lock(task, *file, command, {argument});
        case kGetown: return int64_t{0};  // nobody: F_SETOWN is not there
        case kSetpipeSize: return static_cast<int64_t>(TRY(fs::set_pipe_size(*file, static_cast<uint32_t>(argument))));
        case kGetpipeSize: return static_cast<int64_t>(TRY(fs::pipe_size(*file)));
        case kAddSeals: return done(fs::add_seals(*file, static_cast<uint32_t>(argument)));
        case kGetSeals: return int64_t { TRY(fs::get_seals(*file))
            };
        default: return Errno::kINVAL;
    }
}

Result<int64_t> sys_flock(Task& task, Fd fd, int32_t operation) {
    constexpr int32_t kShared = 1, kExclusive = 2, kNoWait = 4, kUnlock = 8;
    RefPtr<File> file = TRY(file_of(task, fd));
    if (!file->inode()) return Errno::kBADF;
    const bool wait = !(operation & kNoWait);
    switch (operation & ~kNoWait) {
        case kShared: return done(vfs::set_flock(*file->inode(), file.get(), vfs::LockType::kRead, wait));
        case kExclusive: return done(vfs::set_flock(*file->inode(), file.get(), vfs::LockType::kWrite, wait));
        case kUnlock: return done(vfs::set_flock(*file->inode(), file.get(), vfs::LockType::kUnlock, wait));
        default: return Errno::kINVAL;
    }
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
        (void)task.files().close(pair.writer).is_ok();
        writer = stored.error();
    }
    (void)task.files().close(pair.reader).is_ok();
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
