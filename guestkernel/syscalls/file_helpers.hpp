#pragma once
// What the file system calls share: descriptors and *at() paths to objects. Inside syscalls/ only.
#include "guestkernel/syscalls/handlers_file.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::syscalls {

inline constexpr uint64_t kAtSymlinkNofollow = 0x100, kAtEaccess = 0x200, kAtRemovedir = 0x200,
                          kAtSymlinkFollow = 0x400, kAtNoAutomount = 0x800, kAtEmptyPath = 0x1000,
                          kAtStatxSync = 0x6000;

// An open file. EBADF; with O_PATH too, unless allowed.
Result<RefPtr<vfs::File>> file_of(Task& task, int fd);
Result<RefPtr<vfs::File>> file_or_path_of(Task& task, int fd);
// Where a relative path starts: EBADF, ENOTDIR. Absolute paths do not look at the descriptor.
Result<vfs::Path> base_of(Task& task, int directory, std::string_view path, uint32_t resolve = 0);

// The path argument of an *at() call, walked. flags: kAtEmptyPath is honoured; `follow` says what happens to a link at
// the end.
Result<vfs::Path> path_at(Task& task, int directory, UserString path, uint64_t flags, vfs::Follow follow);
inline vfs::Follow follow_unless(uint64_t nofollow) { return nofollow ? vfs::Follow::kNo : vfs::Follow::kYes; }

// The path string and where it starts, for calls that treat the last component themselves.
struct NameAt {
    String text;
    vfs::Path base;
};
// resolve: openat2(2)'s; with RESOLVE_IN_ROOT absolute paths start at the descriptor, too.
Result<NameAt> name_at(Task& task, int directory, UserString path, uint32_t resolve = 0);

// F_SETOWN and F_GETOWN: a process, or a group as a negative number. EINVAL, ESRCH.
Result<int64_t> set_owner(Task& task, vfs::File& file, int32_t id);
int32_t get_owner(vfs::File& file);
// FIOASYNC: O_ASYNC of the description. ENOTTY where the object sends no signals.
Result<int64_t> set_async(Task& task, vfs::File& file, int fd, bool on);

Result<int64_t> install(Task& task, RefPtr<vfs::File> file, bool close_on_exec);
inline Result<int64_t> done(Result<> result) {
    return result.is_error() ? Result<int64_t>(result.error()) : Result<int64_t>(int64_t{0});
}

}  // namespace kvmsbx::syscalls
