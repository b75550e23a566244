#pragma once
// Files: descriptors, input and output, names, attributes. Each is its man page; the logic is in vfs/ and fs/.
#include "guestkernel/ipc/aio.hpp"
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

struct FileTimespec {  // struct timespec
    int64_t seconds, nanoseconds;
};
struct FileTimeval {  // struct timeval
    int64_t seconds, microseconds;
};
struct FileUtimbuf {  // struct utimbuf
    int64_t access, modification;
};
struct FileStat {  // struct stat
    uint64_t device, inode, links;
    uint32_t mode, uid, gid, pad;
    uint64_t rdev;
    int64_t size, block_size, blocks;
    FileTimespec access, modification, change;
    int64_t unused[3];
};
static_assert(sizeof(FileStat) == 144);
struct FileStatfs {  // struct statfs
    int64_t type, block_size;
    uint64_t blocks, blocks_free, blocks_available, files, files_free;
    int32_t id[2];
    int64_t name_length, fragment_size, flags, spare[4];
};
static_assert(sizeof(FileStatfs) == 120);
struct FileStatxTime {
    int64_t seconds;
    uint32_t nanoseconds, pad;
};
struct FileStatx {  // struct statx
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, pad;
    uint64_t inode, size, blocks, attributes_mask;
    FileStatxTime access, birth, change, modification;
    uint32_t rdev_major, rdev_minor, device_major, device_minor;
    uint64_t mount_id, unused[13];
};
static_assert(sizeof(FileStatx) == 256);
struct FileOpenHow {  // struct open_how
    uint64_t flags, mode, resolve;
};
struct FilePair {
    int32_t reader, writer;
};

// file_io.cpp
Result<int64_t> sys_read(Task&, Fd fd, UserBuffer buffer, size_t count);
Result<int64_t> sys_write(Task&, Fd fd, UserBuffer buffer, size_t count);
Result<int64_t> sys_pread64(Task&, Fd fd, UserBuffer buffer, size_t count, int64_t offset);
Result<int64_t> sys_pwrite64(Task&, Fd fd, UserBuffer buffer, size_t count, int64_t offset);
Result<int64_t> sys_readv(Task&, Fd fd, UserBuffer iovecs, size_t count);
Result<int64_t> sys_writev(Task&, Fd fd, UserBuffer iovecs, size_t count);
Result<int64_t> sys_preadv(Task&, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t high);
Result<int64_t> sys_pwritev(Task&, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t high);
Result<int64_t> sys_preadv2(Task&, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t high, Flags flags);
Result<int64_t> sys_pwritev2(Task&, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t high, Flags flags);
Result<int64_t> sys_lseek(Task&, Fd fd, int64_t offset, int32_t whence);
Result<int64_t> sys_ioctl(Task&, Fd fd, Flags request, UserBuffer argument);
Result<int64_t> sys_getdents(Task&, Fd fd, UserBuffer entries, uint32_t size);
Result<int64_t> sys_getdents64(Task&, Fd fd, UserBuffer entries, uint32_t size);

// file_data.cpp
Result<int64_t> sys_fsync(Task&, Fd fd);
Result<int64_t> sys_fdatasync(Task&, Fd fd);
Result<int64_t> sys_sync(Task&);
Result<int64_t> sys_syncfs(Task&, Fd fd);
Result<int64_t> sys_sync_file_range(Task&, Fd fd, int64_t offset, int64_t length, Flags flags);
Result<int64_t> sys_truncate(Task&, UserString path, int64_t length);
Result<int64_t> sys_ftruncate(Task&, Fd fd, int64_t length);
Result<int64_t> sys_fallocate(Task&, Fd fd, Flags mode, int64_t offset, int64_t length);
Result<int64_t> sys_fadvise64(Task&, Fd fd, int64_t offset, int64_t length, int32_t advice);
Result<int64_t> sys_readahead(Task&, Fd fd, int64_t offset, size_t count);
Result<int64_t> sys_sendfile(Task&, Fd out, Fd in, UserInOut<int64_t> offset, size_t count);
Result<int64_t> sys_copy_file_range(Task&, Fd in, UserInOut<int64_t> in_offset, Fd out, UserInOut<int64_t> out_offset,
                                    size_t count, Flags flags);

// fd.cpp
Result<int64_t> sys_open(Task&, UserString path, OpenFlags flags, Mode mode);
Result<int64_t> sys_openat(Task&, DirFd directory, UserString path, OpenFlags flags, Mode mode);
Result<int64_t> sys_openat2(Task&, DirFd directory, UserString path, UserIn<FileOpenHow> how, size_t size);
Result<int64_t> sys_creat(Task&, UserString path, Mode mode);
Result<int64_t> sys_close(Task&, Fd fd);
Result<int64_t> sys_close_range(Task&, uint32_t first, uint32_t last, Flags flags);
Result<int64_t> sys_dup(Task&, Fd fd);
Result<int64_t> sys_dup2(Task&, Fd fd, Fd new_fd);
Result<int64_t> sys_dup3(Task&, Fd fd, Fd new_fd, OpenFlags flags);
Result<int64_t> sys_pipe(Task&, UserOut<FilePair> fds);
Result<int64_t> sys_pipe2(Task&, UserOut<FilePair> fds, OpenFlags flags);
Result<int64_t> sys_memfd_create(Task&, UserString name, Flags flags);

// fcntl.cpp
Result<int64_t> sys_fcntl(Task&, Fd fd, int32_t command, uint64_t argument);
Result<int64_t> sys_flock(Task&, Fd fd, int32_t operation);

// path.cpp
Result<int64_t> sys_mkdir(Task&, UserString path, Mode mode);
Result<int64_t> sys_mkdirat(Task&, DirFd directory, UserString path, Mode mode);
Result<int64_t> sys_mknod(Task&, UserString path, Mode mode, uint32_t device);
Result<int64_t> sys_mknodat(Task&, DirFd directory, UserString path, Mode mode, uint32_t device);
Result<int64_t> sys_rmdir(Task&, UserString path);
Result<int64_t> sys_unlink(Task&, UserString path);
Result<int64_t> sys_unlinkat(Task&, DirFd directory, UserString path, Flags flags);
Result<int64_t> sys_rename(Task&, UserString path, UserString new_path);
Result<int64_t> sys_renameat(Task&, DirFd directory, UserString path, DirFd new_directory, UserString new_path);
Result<int64_t> sys_renameat2(Task&, DirFd directory, UserString path, DirFd new_directory, UserString new_path,
                              Flags flags);
Result<int64_t> sys_link(Task&, UserString path, UserString new_path);
Result<int64_t> sys_linkat(Task&, DirFd directory, UserString path, DirFd new_directory, UserString new_path,
                           Flags flags);
Result<int64_t> sys_symlink(Task&, UserString target, UserString path);
Result<int64_t> sys_symlinkat(Task&, UserString target, DirFd directory, UserString path);
Result<int64_t> sys_readlink(Task&, UserString path, UserBuffer buffer, int32_t size);
Result<int64_t> sys_readlinkat(Task&, DirFd directory, UserString path, UserBuffer buffer, int32_t size);
Result<int64_t> sys_chdir(Task&, UserString path);
Result<int64_t> sys_fchdir(Task&, Fd fd);
Result<int64_t> sys_chroot(Task&, UserString path);
Result<int64_t> sys_getcwd(Task&, UserBuffer buffer, size_t size);
Result<int64_t> sys_umask(Task&, Mode mask);

// stat.cpp
Result<int64_t> sys_stat(Task&, UserString path, UserOut<FileStat> out);
Result<int64_t> sys_lstat(Task&, UserString path, UserOut<FileStat> out);
Result<int64_t> sys_fstat(Task&, Fd fd, UserOut<FileStat> out);
Result<int64_t> sys_newfstatat(Task&, DirFd directory, UserString path, UserOut<FileStat> out, Flags flags);
Result<int64_t> sys_statx(Task&, DirFd directory, UserString path, Flags flags, Flags mask, UserOut<FileStatx> out);
Result<int64_t> sys_statfs(Task&, UserString path, UserOut<FileStatfs> out);
Result<int64_t> sys_fstatfs(Task&, Fd fd, UserOut<FileStatfs> out);
Result<int64_t> sys_access(Task&, UserString path, Mode mode);
Result<int64_t> sys_faccessat(Task&, DirFd directory, UserString path, Mode mode);
Result<int64_t> sys_faccessat2(Task&, DirFd directory, UserString path, Mode mode, Flags flags);

// file_attributes.cpp
Result<int64_t> sys_chmod(Task&, UserString path, Mode mode);
Result<int64_t> sys_fchmod(Task&, Fd fd, Mode mode);
Result<int64_t> sys_fchmodat(Task&, DirFd directory, UserString path, Mode mode);
Result<int64_t> sys_fchmodat2(Task&, DirFd directory, UserString path, Mode mode, Flags flags);
Result<int64_t> sys_chown(Task&, UserString path, uint32_t uid, uint32_t gid);
Result<int64_t> sys_lchown(Task&, UserString path, uint32_t uid, uint32_t gid);
Result<int64_t> sys_fchown(Task&, Fd fd, uint32_t uid, uint32_t gid);
Result<int64_t> sys_fchownat(Task&, DirFd directory, UserString path, uint32_t uid, uint32_t gid, Flags flags);
Result<int64_t> sys_utimensat(Task&, DirFd directory, UserString path, UserIn<FileTimespec> times, Flags flags);
Result<int64_t> sys_futimesat(Task&, DirFd directory, UserString path, UserIn<FileTimeval> times);
Result<int64_t> sys_utimes(Task&, UserString path, UserIn<FileTimeval> times);
Result<int64_t> sys_utime(Task&, UserString path, UserIn<FileUtimbuf> times);

// file_handle.cpp
struct FileHandle {  // struct file_handle, without the handle's bytes
    uint32_t size;
    int32_t type;
};
Result<int64_t> sys_name_to_handle_at(Task&, DirFd directory, UserString path, UserInOut<FileHandle> handle,
                                      UserBuffer mount, Flags flags);
Result<int64_t> sys_open_by_handle_at(Task&, DirFd directory, UserIn<FileHandle> handle, OpenFlags flags);

// xattr.cpp
Result<int64_t> sys_setxattr(Task&, UserString path, UserString name, UserBuffer value, size_t size, Flags flags);
Result<int64_t> sys_lsetxattr(Task&, UserString path, UserString name, UserBuffer value, size_t size, Flags flags);
Result<int64_t> sys_fsetxattr(Task&, Fd fd, UserString name, UserBuffer value, size_t size, Flags flags);
Result<int64_t> sys_getxattr(Task&, UserString path, UserString name, UserBuffer value, size_t size);
Result<int64_t> sys_lgetxattr(Task&, UserString path, UserString name, UserBuffer value, size_t size);
Result<int64_t> sys_fgetxattr(Task&, Fd fd, UserString name, UserBuffer value, size_t size);
Result<int64_t> sys_listxattr(Task&, UserString path, UserBuffer list, size_t size);
Result<int64_t> sys_llistxattr(Task&, UserString path, UserBuffer list, size_t size);
Result<int64_t> sys_flistxattr(Task&, Fd fd, UserBuffer list, size_t size);
Result<int64_t> sys_removexattr(Task&, UserString path, UserString name);
Result<int64_t> sys_lremovexattr(Task&, UserString path, UserString name);
Result<int64_t> sys_fremovexattr(Task&, Fd fd, UserString name);

struct Iocb {  // struct iocb
    uint64_t data;
    uint32_t key, rw_flags;
    uint16_t operation;
    int16_t priority;
    uint32_t fd;
    uint64_t buffer, size;
    int64_t offset;
    uint64_t reserved;
    uint32_t flags, result_fd;
};
static_assert(sizeof(Iocb) == 64);
Result<int64_t> sys_io_setup(Task& task, uint32_t requests, UserInOut<uint64_t> context);
Result<int64_t> sys_io_destroy(Task& task, uint64_t context);
Result<int64_t> sys_io_submit(Task& task, uint64_t context, int64_t count, UserIn<uint64_t> requests);
Result<int64_t> sys_io_cancel(Task& task, uint64_t context, UserIn<Iocb> request, UserOut<ipc::AioEvent> event);

Result<int64_t> sys_splice(Task& task, Fd in, UserInOut<int64_t> in_offset, Fd out, UserInOut<int64_t> out_offset,
                           size_t count, uint32_t flags);
Result<int64_t> sys_tee(Task& task, Fd in, Fd out, size_t count, uint32_t flags);
Result<int64_t> sys_vmsplice(Task& task, Fd pipe, UserBuffer iovecs, size_t count, uint32_t flags);

}  // namespace kvmsbx::syscalls
