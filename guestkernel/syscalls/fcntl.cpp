// fcntl(2) and flock(2).
#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/ipc/dnotify.hpp"
#include "guestkernel/ipc/file_owner.hpp"
#include "guestkernel/ipc/inotify.hpp"
#include "guestkernel/net/socket.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/task/signal.hpp"
#include "guestkernel/vfs/locks.hpp"

namespace kvmsbx::syscalls {

using vfs::File;
using vfs::LockKind;
using vfs::LockType;
using vfs::LockWait;

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
    kSetown = 8,
    kGetown = 9,
    kSetsig = 10,
    kGetsig = 11,
    kSetownEx = 15,
    kGetownEx = 16,
    kOfdGetlk = 36,
    kOfdSetlk = 37,
    kOfdSetlkw = 38,
    kSetlease = 1024,
    kGetlease = 1025,
    kNotify = 1026,
    kDupfdQuery = 1027,
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

struct OwnerEx {  // struct f_owner_ex
    int32_t type, pid;
};

Result<vfs::LockRange> lock_range(File& file, const FileLock& lock) {
    vfs::LockRange range;
    int64_t base = 0;
    switch (lock.whence) {
        case 0: break;
        case 1: base = static_cast<int64_t>(file.position); break;
        case 2: base = static_cast<int64_t>(TRY(file.inode()->attributes()).size); break;
        default: return Errno::kINVAL;
    }
    int64_t start, last;
    if (lock.start > 0 && base > INT64_MAX - lock.start) return Errno::kOVERFLOW;
    start = base + lock.start;
    if (start < 0) return Errno::kINVAL;
    if (lock.length > 0) {
        if (__builtin_add_overflow(start, lock.length - 1, &last)) return Errno::kOVERFLOW;
    } else if (lock.length < 0) {
        if (__builtin_add_overflow(start, lock.length, &last) || last < 0) return Errno::kINVAL;
        std::swap(start, last);
        --last;
    } else {
        last = INT64_MAX;
    }
    range.start = static_cast<uint64_t>(start);
    range.end = last == INT64_MAX ? ~0ULL : static_cast<uint64_t>(last) + 1;
    if (lock.type < 0 || lock.type > 2) return Errno::kINVAL;
    range.type = static_cast<LockType>(lock.type);
    return range;
}

Result<int64_t> get_lock(Task& task, File& file, UserInOut<FileLock> user, vfs::LockRange range, FileLock lock) {
    if (range.type == LockType::kUnlock && range.kind == LockKind::kPosix) return Errno::kINVAL;
    const vfs::LockRange found = vfs::test_record_lock(*file.inode(), range);
    lock.type = static_cast<int16_t>(found.type);
    if (found.type != LockType::kUnlock) {
        lock.whence = 0, lock.start = static_cast<int64_t>(found.start), lock.pid = found.pid;
        lock.length = found.end == ~0ULL ? 0 : static_cast<int64_t>(found.end - found.start);
    }
    return done(user.store(task.space(), lock));
}

Result<int64_t> record_lock(Task& task, RefPtr<File> file, int fd, int32_t command, UserInOut<FileLock> user) {
    const bool by_file = command >= kOfdGetlk;
    const FileLock lock = TRY(user.load(task.space()));
    if (!file->inode()) return Errno::kINVAL;
    vfs::LockRange range = TRY(lock_range(*file, lock));
    if (by_file && lock.pid != 0) return Errno::kINVAL;
    range.kind = by_file ? LockKind::kOpenFile : LockKind::kPosix;
    range.owner = by_file ? static_cast<const void*>(file.get()) : static_cast<const void*>(&task.files());
    range.pid = by_file ? -1 : task.process().pid;
    if (command == kGetlk || command == kOfdGetlk) return get_lock(task, *file, user, range, lock);
    if (range.type == LockType::kRead && !file->readable()) return Errno::kBADF;
    if (range.type == LockType::kWrite && !file->writable()) return Errno::kBADF;
    const LockWait wait = command == kSetlkw || command == kOfdSetlkw ? LockWait::kYes : LockWait::kNo;
    TRY(vfs::set_record_lock(*file->inode(), range, wait));
    // Another thread may have closed the descriptor meanwhile; its release came too early for this lock.
    Result<RefPtr<File>> now = task.files().get(fd);
    if (by_file || range.type == LockType::kUnlock || (now.is_ok() && now.value() == file)) return int64_t{0};
    vfs::release_record_locks(*file->inode(), range.owner);
    return Errno::kBADF;
}

Result<int64_t> duplicate(Task& task, RefPtr<File> file, uint64_t minimum, bool close_on_exec) {
    const uint64_t limit = task.limit(task::kRlimitNofile);
    if (minimum >= limit || minimum > 0x7fffffff) return Errno::kINVAL;
    return int64_t{TRY(task.files().install(std::move(file), close_on_exec, limit, static_cast<int>(minimum)))};
}

// Whether the object can tell by a signal that it became ready: sockets, pipes, terminals and inotify, as on Linux.
bool can_signal(File& file) {
    if (net::Socket::from(file) || ipc::Inotify::from(file)) return true;
    const uint32_t type = file.inode() ? file.inode()->type() : 0;
    return (type == vfs::kModeFifo || type == vfs::kModeChar) && file.poll().queue;
}

Result<int64_t> set_status_flags(Task& task, File& file, int fd, uint32_t wanted) {
    constexpr uint32_t kSettable = vfs::kOAppend | vfs::kONonblock | vfs::kODirect | vfs::kONoatime;
    if ((wanted & ~file.flags & vfs::kONoatime) && file.inode()) {
        const auth::Credentials& who = task.credentials();
        if (who.fsuid != TRY(file.inode()->ownership()).uid && !who.has(auth::Capability::kFowner)) return Errno::kPERM;
    }
    if (((wanted ^ file.flags) & vfs::kOAsync) && can_signal(file)) {
        ipc::FileOwner* owner = TRY(ipc::FileOwner::of(file));
        file.flags ^= vfs::kOAsync;
        owner->fd = fd;
        owner->follow_flags();
    }
    file.flags = (file.flags & ~kSettable) | (wanted & kSettable);
    return int64_t{0};
}

Result<int64_t> set_owner_ex(Task& task, File& file, UserIn<OwnerEx> user) {
    const OwnerEx wanted = TRY(user.load(task.space()));
    if (wanted.type < 0 || wanted.type > 2) return Errno::kINVAL;
    if (wanted.pid < 0) return Errno::kSRCH;
    ipc::FileOwner* owner = TRY(ipc::FileOwner::of(file));
    return done(owner->set(static_cast<ipc::OwnerKind>(wanted.type), wanted.pid, task.credentials()));
}

Result<int64_t> get_owner_ex(Task& task, File& file, UserOut<OwnerEx> user) {
    const ipc::FileOwner* owner = ipc::FileOwner::find(file);
    const OwnerEx shown{owner ? static_cast<int32_t>(owner->kind()) : 0, owner ? owner->id() : 0};
    return done(user.store(task.space(), shown));
}

Result<int64_t> set_signal(File& file, uint64_t signal) {
    if (signal > task::kSigMax) return Errno::kINVAL;
    TRY(ipc::FileOwner::of(file))->signal = static_cast<int32_t>(signal);
    return int64_t{0};
}

// No file system here grants leases: as simple_nosetlease() of Linux.
Result<int64_t> set_lease(Task& task, File& file, uint64_t type) {
    if (type == static_cast<uint64_t>(LockType::kUnlock)) return Errno::kAGAIN;
    if (!file.inode() || file.inode()->type() != vfs::kModeRegular) return Errno::kINVAL;
    const auth::Credentials& who = task.credentials();
    if (who.fsuid != TRY(file.inode()->ownership()).uid && !who.has(auth::Capability::kLease)) return Errno::kACCES;
    return Errno::kINVAL;
}

Result<int64_t> query_duplicate(Task& task, const RefPtr<File>& file, uint64_t other) {
    const RefPtr<File> second = TRY(task.files().get(static_cast<int32_t>(other)));
    return int64_t{file == second ? 1 : 0};
}

Result<int64_t> close_on_exec(Task& task, int fd) {
    const bool on = TRY(task.files().close_on_exec(fd));
    return int64_t{on ? 1 : 0};
}

// What an O_PATH descriptor refuses.
Result<int64_t> control_open_file(Task& task, RefPtr<File> file, int fd, int32_t command, uint64_t argument) {
    switch (command) {
        case kSetfl: return set_status_flags(task, *file, fd, static_cast<uint32_t>(argument));
        case kGetlk:
        case kSetlk:
        case kSetlkw:
        case kOfdGetlk:
        case kOfdSetlk:
        case kOfdSetlkw: return record_lock(task, std::move(file), fd, command, {argument});
        case kSetown: return set_owner(task, *file, static_cast<int32_t>(argument));
        case kGetown: return int64_t{get_owner(*file)};
        case kSetownEx: return set_owner_ex(task, *file, {argument});
        case kGetownEx: return get_owner_ex(task, *file, {argument});
        case kSetsig: return set_signal(*file, argument);
        case kGetsig: {
            const ipc::FileOwner* owner = ipc::FileOwner::find(*file);
            return int64_t{owner ? owner->signal : 0};
        }
        case kSetlease: return set_lease(task, *file, argument);
        case kGetlease: return static_cast<int64_t>(LockType::kUnlock);
        case kNotify: return done(ipc::set_directory_notice(task, *file, fd, static_cast<uint32_t>(argument)));
        case kSetpipeSize:
            return static_cast<int64_t>(
                TRY(fs::set_pipe_size(*file, static_cast<uint32_t>(argument), task.credentials())));
        case kGetpipeSize: return static_cast<int64_t>(TRY(fs::pipe_size(*file)));
        case kAddSeals: return done(fs::add_seals(*file, static_cast<uint32_t>(argument)));
        case kGetSeals: return static_cast<int64_t>(TRY(fs::get_seals(*file)));
        default: return Errno::kINVAL;
    }
}

}  // namespace

Result<int64_t> sys_fcntl(Task& task, Fd fd, int32_t command, uint64_t argument) {
    RefPtr<File> file = TRY(file_or_path_of(task, fd));
    switch (command) {
        case kDupfd: return duplicate(task, std::move(file), argument, false);
        case kDupfdCloexec: return duplicate(task, std::move(file), argument, true);
        case kDupfdQuery: return query_duplicate(task, file, argument);
        case kGetfd: return close_on_exec(task, fd);
        case kSetfd: return done(task.files().set_close_on_exec(fd, argument & kFdCloexec));
        case kGetfl: return int64_t{file->flags};
        default: break;
    }
    if (file->flags & vfs::kOPath) return Errno::kBADF;
    return control_open_file(task, std::move(file), fd, command, argument);
}

Result<int64_t> set_owner(Task& task, vfs::File& file, int32_t id) {
    if (id == INT32_MIN) return Errno::kINVAL;
    ipc::FileOwner* owner = TRY(ipc::FileOwner::of(file));
    const auto kind = id < 0 ? ipc::OwnerKind::kGroup : ipc::OwnerKind::kProcess;
    return done(owner->set(kind, id < 0 ? -id : id, task.credentials()));
}

int32_t get_owner(vfs::File& file) {
    const ipc::FileOwner* owner = ipc::FileOwner::find(file);
    if (!owner) return 0;
    return owner->kind() == ipc::OwnerKind::kGroup ? -owner->id() : owner->id();
}

Result<int64_t> set_async(Task& task, vfs::File& file, int fd, bool on) {
    if (!can_signal(file)) return Errno::kNOTTY;
    return set_status_flags(task, file, fd, on ? file.flags | vfs::kOAsync : file.flags & ~vfs::kOAsync);
}

Result<int64_t> sys_flock(Task& task, Fd fd, int32_t operation) {
    constexpr int32_t kShared = 1, kExclusive = 2, kNoWait = 4, kUnlock = 8, kMandatory = 32;
    if (operation & kMandatory) return int64_t{0};  // since Linux 5.15 this does nothing
    LockType type;
    switch (operation & ~kNoWait) {
        case kShared: type = LockType::kRead; break;
        case kExclusive: type = LockType::kWrite; break;
        case kUnlock: type = LockType::kUnlock; break;
        default: return Errno::kINVAL;
    }
    RefPtr<File> file = TRY(file_of(task, fd));
    if (!file->inode()) return Errno::kBADF;
    if (type != LockType::kUnlock && !file->readable() && !file->writable()) return Errno::kBADF;
    return done(vfs::set_flock(*file->inode(), file.get(), task.process().pid, type,
                               operation & kNoWait ? LockWait::kNo : LockWait::kYes));
}

}  // namespace kvmsbx::syscalls
