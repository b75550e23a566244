// inotify(7).
#include "guestkernel/ipc/inotify.hpp"

#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_poll.hpp"

namespace kvmsbx::syscalls {

using ipc::Inotify;

Result<int64_t> sys_inotify_init1(Task& task, OpenFlags flags) {
    if (flags & ~(vfs::kOCloexec | vfs::kONonblock)) return Errno::kINVAL;
    return install(task, TRY(Inotify::create(task.credentials().ruid, flags & vfs::kONonblock)),
                   flags & vfs::kOCloexec);
}

Result<int64_t> sys_inotify_init(Task& task) { return sys_inotify_init1(task, OpenFlags{0}); }

Result<int64_t> sys_inotify_add_watch(Task& task, Fd fd, UserString path, Flags flags) {
    const uint32_t mask = static_cast<uint32_t>(flags.value);
    constexpr uint32_t kAllFlags = ipc::kInAllEvents | ipc::kInOnlyDirectory | ipc::kInDontFollow |
                                   ipc::kInExcludeUnlinked | ipc::kInMaskCreate | ipc::kInMaskAdd |
                                   vfs::kWatchIsDirectory | ipc::kInOneshot | vfs::kWatchUnmount | 0xc000;
    if (!(mask & kAllFlags)) return Errno::kINVAL;
    const RefPtr<vfs::File> file = TRY(file_of(task, fd));
    if ((mask & ipc::kInMaskAdd) && (mask & ipc::kInMaskCreate)) return Errno::kINVAL;
    Inotify* const inotify = Inotify::from(*file);
    if (!inotify) return Errno::kINVAL;
    const auto follow = follow_unless(mask & ipc::kInDontFollow);
    const vfs::Path found = TRY(path_at(task, vfs::kAtFdcwd, path, 0, follow));
    if ((mask & ipc::kInOnlyDirectory) && !found.inode().is_directory()) return Errno::kNOTDIR;
    constexpr uint32_t kMayRead = 4;
    TRY(vfs::check_permission(task.credentials(), found.inode(), kMayRead));
    return int64_t{TRY(inotify->add(found, mask))};
}

Result<int64_t> sys_inotify_rm_watch(Task& task, Fd fd, int32_t descriptor) {
    const RefPtr<vfs::File> file = TRY(file_of(task, fd));
    Inotify* const inotify = Inotify::from(*file);
    return inotify ? done(inotify->remove(descriptor)) : Errno::kINVAL;
}

}  // namespace kvmsbx::syscalls
