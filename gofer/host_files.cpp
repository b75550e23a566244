#include "gofer/host_files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <cstring>

#include "common/host/errno.hpp"

namespace kvmsbx::gofer {
namespace {

constexpr uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

Result<host::Fd> open_beneath(int directory, const char* name, uint64_t flags, uint64_t mode) {
    open_how how{.flags = flags, .mode = mode, .resolve = kResolve};
    long fd;
    do fd = syscall(SYS_openat2, directory, name, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));  // EAGAIN: a rename ran at the same time
    return host::owned(fd);
}

Result<FileStat> stat_at(int fd, const char* name, int flags) {
    struct statx st;
    if (statx(fd, name, flags | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &st) != 0)
        return host::last_errno();
    FileStat result;
    p9::Attr& attr = result.attr;
    attr.valid = p9::kGetattrBasic | ((st.stx_mask & STATX_BTIME) != 0 ? p9::kGetattrBtime : 0);
    attr.mode = st.stx_mode;
    attr.uid = st.stx_uid;
    attr.gid = st.stx_gid;
    attr.nlink = st.stx_nlink;
    attr.rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
    attr.size = st.stx_size;
    attr.blksize = st.stx_blksize;
    attr.blocks = st.stx_blocks;
    attr.atime_sec = static_cast<uint64_t>(st.stx_atime.tv_sec);
    attr.atime_nsec = st.stx_atime.tv_nsec;
    attr.mtime_sec = static_cast<uint64_t>(st.stx_mtime.tv_sec);
    attr.mtime_nsec = st.stx_mtime.tv_nsec;
    attr.ctime_sec = static_cast<uint64_t>(st.stx_ctime.tv_sec);
    attr.ctime_nsec = st.stx_ctime.tv_nsec;
    attr.btime_sec = static_cast<uint64_t>(st.stx_btime.tv_sec);
    attr.btime_nsec = st.stx_btime.tv_nsec;
    result.device = makedev(st.stx_dev_major, st.stx_dev_minor);
    result.inode = st.stx_ino;
    return result;
}

struct FdName {  // "123", the entry of a descriptor in /proc/self/fd
    explicit FdName(int fd) { *std::to_chars(text, text + sizeof text - 1, fd).ptr = '\0'; }
    char text[12];
};

}  // namespace

Result<Name> Name::create(std::string_view name) {
    if (name.empty()) return Errno::kNOENT;
    if (name.size() > p9::kMaxName) return Errno::kNAMETOOLONG;
    if (name == "." || name == "..") return Errno::kINVAL;
    Name result;
    for (size_t i = 0; i < name.size(); i++) {
        if (name[i] == '/' || name[i] == '\0') return Errno::kINVAL;
        result.text_[i] = name[i];
    }
    result.text_[name.size()] = '\0';
    return result;
}

Result<Target> Target::create(std::string_view target) {
    if (target.empty()) return Errno::kNOENT;
    if (target.size() >= sizeof text_) return Errno::kNAMETOOLONG;
    if (target.find('\0') != target.npos) return Errno::kINVAL;
    Target result;
    memcpy(result.text_, target.data(), target.size());
    result.text_[target.size()] = '\0';
    return result;
}

Result<FileStat> stat_fd(int fd) { return stat_at(fd, "", AT_EMPTY_PATH); }
Result<FileStat> stat_name(int directory, const Name& name) { return stat_at(directory, name.c_str(), 0); }

Result<host::Fd> open_component(int directory, const Name& name) {
    return open_beneath(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
}

Result<host::Fd> create_file(int directory, const Name& name, uint32_t flags, uint32_t mode) {
    return open_beneath(directory, name.c_str(), flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 07777);
}

Result<host::Fd> Reopener::open(int fd, uint32_t flags) const {
    return host::owned(openat(proc_self_fd_.get(), FdName(fd).text, static_cast<int>(flags | O_CLOEXEC | O_NOCTTY)));
}

Result<host::Fd> Reopener::open_path(int fd) const {
    return host::owned(openat(proc_self_fd_.get(), FdName(fd).text, O_PATH | O_CLOEXEC));
}

Result<> Reopener::change_mode(int fd, uint32_t mode) const {
    return host::checked(fchmodat(proc_self_fd_.get(), FdName(fd).text, mode & 07777, 0));
}

Result<> Reopener::link(int fd, int directory, const Name& name) const {
    return host::checked(linkat(proc_self_fd_.get(), FdName(fd).text, directory, name.c_str(), AT_SYMLINK_FOLLOW));
}

}  // namespace kvmsbx::gofer
