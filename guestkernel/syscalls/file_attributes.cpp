// Changing attributes, and mounts.
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/vfs/attributes.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::syscalls {

using vfs::Follow;
using vfs::kAtFdcwd;
using Change = vfs::AttributeChange;

namespace {

// An open file's own path, or that of an object without a place in the tree: EBADF for O_PATH as fchmod(2) and kin want
// it.
Result<vfs::Path> path_of(Task& task, int fd) {
    RefPtr<vfs::File> file = TRY(file_of(task, fd));
    if (!file->path()) return Errno::kPERM;
    return vfs::Path(*file->path());
}

}  // namespace

Result<int64_t> sys_fchmodat2(Task& task, DirFd directory, UserString path, Mode mode, Flags flags) {
    if (flags & ~(kAtSymlinkNofollow | kAtEmptyPath)) return Errno::kINVAL;
    const vfs::Path found = TRY(path_at(task, directory, path, flags, follow_unless(flags & kAtSymlinkNofollow)));
    return done(vfs::change_mode(task.caller(), found, mode));
}
Result<int64_t> sys_fchmodat(Task& task, DirFd directory, UserString path, Mode mode) {
    return sys_fchmodat2(task, directory, path, mode, {0});
}
Result<int64_t> sys_chmod(Task& task, UserString path, Mode mode) { return sys_fchmodat(task, {kAtFdcwd}, path, mode); }
Result<int64_t> sys_fchmod(Task& task, Fd fd, Mode mode) {
    return done(vfs::change_mode(task.caller(), TRY(path_of(task, fd)), mode));
}

Result<int64_t> sys_fchownat(Task& task, DirFd directory, UserString path, uint32_t uid, uint32_t gid, Flags flags) {
    if (flags & ~(kAtSymlinkNofollow | kAtEmptyPath)) return Errno::kINVAL;
    const vfs::Path found = TRY(path_at(task, directory, path, flags, follow_unless(flags & kAtSymlinkNofollow)));
    return done(vfs::change_owner(task.caller(), found, uid, gid));
}
Result<int64_t> sys_chown(Task& task, UserString path, uint32_t uid, uint32_t gid) {
    return sys_fchownat(task, {kAtFdcwd}, path, uid, gid, {0});
}
Result<int64_t> sys_lchown(Task& task, UserString path, uint32_t uid, uint32_t gid) {
    return sys_fchownat(task, {kAtFdcwd}, path, uid, gid, {kAtSymlinkNofollow});
}
Result<int64_t> sys_fchown(Task& task, Fd fd, uint32_t uid, uint32_t gid) {
    return done(vfs::change_owner(task.caller(), TRY(path_of(task, fd)), uid, gid));
}

namespace {

constexpr int64_t kUtimeNow = (1 << 30) - 1, kUtimeOmit = (1 << 30) - 2;

struct Times {
    Change change;
    bool named = false;  // the caller names times, not just "now"
};

Result<Times> times_of(const FileTimespec (&times)[2]) {
    Times result;
    const auto set = [&](const FileTimespec& time, uint32_t bit, uint32_t now_bit, vfs::Timestamp& to) -> Result<> {
        if (time.nanoseconds == kUtimeOmit) return {};
        if (time.nanoseconds == kUtimeNow) {
            result.change.valid |= now_bit;
            return {};
        }
        if (time.nanoseconds < 0 || time.nanoseconds >= 1'000'000'000) return Errno::kINVAL;
        to = {time.seconds, static_cast<uint32_t>(time.nanoseconds)};
        result.change.valid |= bit;
        return {};
    };
    TRY(set(times[0], Change::kAtime, Change::kAtimeNow, result.change.atime));
    TRY(set(times[1], Change::kMtime, Change::kMtimeNow, result.change.mtime));
    result.named = result.change.valid != (Change::kAtimeNow | Change::kMtimeNow);
    return result;
}

Times now_times() {
    Times result;
    result.change.valid = Change::kAtimeNow | Change::kMtimeNow;
    return result;
}

Result<int64_t> set_times(Task& task, int directory, UserString path, const Times& times, uint64_t flags) {
    vfs::Path found;
    if (path) {
        found = TRY(path_at(task, directory, path, flags, follow_unless(flags & kAtSymlinkNofollow)));
    } else {
        RefPtr<vfs::File> file = TRY(file_of(task, directory));
        if (!file->path()) return Errno::kPERM;
        found = *file->path();
    }
    if (times.change.valid == 0) return int64_t{0};
    return done(vfs::change_times(task.caller(), found, times.change, times.named));
}

Result<Times> load_timevals(Task& task, UserIn<FileTimeval> user) {
    if (!user) return now_times();
    FileTimeval times[2];
    TRY(user.load_array(task.space(), times));
    FileTimespec wide[2];
    for (int i = 0; i < 2; ++i) {
        if (times[i].microseconds < 0 || times[i].microseconds >= 1'000'000) return Errno::kINVAL;
        wide[i] = {times[i].seconds, times[i].microseconds * 1000};
    }
    return times_of(wide);
}

}  // namespace

Result<int64_t> sys_utimensat(Task& task, DirFd directory, UserString path, UserIn<FileTimespec> user, Flags flags) {
    if (flags & ~(kAtSymlinkNofollow | kAtEmptyPath)) return Errno::kINVAL;
    if (!path && (flags.value != 0 || directory == kAtFdcwd))
        return directory == kAtFdcwd ? Errno::kFAULT : Errno::kINVAL;
    if (!user) return set_times(task, directory, path, now_times(), flags);
    FileTimespec times[2];
    TRY(user.load_array(task.space(), times));
    return set_times(task, directory, path, TRY(times_of(times)), flags);
}

Result<int64_t> sys_futimesat(Task& task, DirFd directory, UserString path, UserIn<FileTimeval> user) {
    return set_times(task, directory, path, TRY(load_timevals(task, user)), 0);
}
Result<int64_t> sys_utimes(Task& task, UserString path, UserIn<FileTimeval> user) {
    if (!path) return Errno::kFAULT;
    return set_times(task, kAtFdcwd, path, TRY(load_timevals(task, user)), 0);
}

Result<int64_t> sys_utime(Task& task, UserString path, UserIn<FileUtimbuf> user) {
    if (!path) return Errno::kFAULT;
    if (!user) return set_times(task, kAtFdcwd, path, now_times(), 0);
    const FileUtimbuf times = TRY(user.load(task.space()));
    const FileTimespec wide[2] = {{times.access, 0}, {times.modification, 0}};
    return set_times(task, kAtFdcwd, path, TRY(times_of(wide)), 0);
}

}  // namespace kvmsbx::syscalls
