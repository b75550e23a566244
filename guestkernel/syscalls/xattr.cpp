// xattr(7) on file systems without extended attributes: after the path or descriptor was found good, EOPNOTSUPP.
#include "guestkernel/syscalls/file_helpers.hpp"

namespace kvmsbx::syscalls {

namespace {

Result<int64_t> refuse(Task& task, UserString path, vfs::Follow follow) {
    TRY(path_at(task, vfs::kAtFdcwd, path, 0, follow));
    return Errno::kOPNOTSUPP;
}

Result<int64_t> refuse(Task& task, int fd) {
    TRY(file_of(task, fd));
    return Errno::kOPNOTSUPP;
}

constexpr vfs::Follow kFollow = vfs::Follow::kYes, kItself = vfs::Follow::kNo;

}  // namespace

Result<int64_t> sys_setxattr(Task& task, UserString path, UserString, UserBuffer, size_t, Flags) {
    return refuse(task, path, kFollow);
}
Result<int64_t> sys_lsetxattr(Task& task, UserString path, UserString, UserBuffer, size_t, Flags) {
    return refuse(task, path, kItself);
}
Result<int64_t> sys_fsetxattr(Task& task, Fd fd, UserString, UserBuffer, size_t, Flags) { return refuse(task, fd); }
Result<int64_t> sys_getxattr(Task& task, UserString path, UserString, UserBuffer, size_t) {
    return refuse(task, path, kFollow);
}
Result<int64_t> sys_lgetxattr(Task& task, UserString path, UserString, UserBuffer, size_t) {
    return refuse(task, path, kItself);
}
Result<int64_t> sys_fgetxattr(Task& task, Fd fd, UserString, UserBuffer, size_t) { return refuse(task, fd); }
Result<int64_t> sys_listxattr(Task& task, UserString path, UserBuffer, size_t) { return refuse(task, path, kFollow); }
Result<int64_t> sys_llistxattr(Task& task, UserString path, UserBuffer, size_t) { return refuse(task, path, kItself); }
Result<int64_t> sys_flistxattr(Task& task, Fd fd, UserBuffer, size_t) { return refuse(task, fd); }
Result<int64_t> sys_removexattr(Task& task, UserString path, UserString) { return refuse(task, path, kFollow); }
Result<int64_t> sys_lremovexattr(Task& task, UserString path, UserString) { return refuse(task, path, kItself); }
Result<int64_t> sys_fremovexattr(Task& task, Fd fd, UserString) { return refuse(task, fd); }

}  // namespace kvmsbx::syscalls
