#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::syscalls {

using vfs::Attributes;
using vfs::Follow;
using vfs::kAtFdcwd;

namespace {

struct Found {
    Attributes attributes;
    uint64_t device;
    uint64_t mount = 0, unique_mount = 0;
    uint64_t flags = 0, known_flags = 0;  // stx_attributes
};

constexpr uint64_t kMountRoot = 0x2000, kAutomount = 0x1000, kDax = 0x200000;  // STATX_ATTR_*

Result<Found> look_at(const vfs::Path& path) {
    const vfs::Mount& mount = path.mount();
    vfs::FileSystem& fs = path.inode().fs();
    Found found{TRY(path.inode().attributes()), fs.device, static_cast<uint64_t>(mount.id), mount.unique_id()};
    if (mount.root() == &path.dentry()) found.flags = kMountRoot;
    found.known_flags = fs.statx_attributes() | kMountRoot | kAutomount | kDax;
    return found;
}

// Sockets, epoll instances and their like without an inode.
Result<Found> anonymous(vfs::File& file) {
    constexpr uint64_t kAnonymousDevice = vfs::make_device(0, 0xf0);
    Found found{{}, kAnonymousDevice};
    const String name = TRY(file.describe());
    const bool socket = name.view().starts_with("socket:");
    found.attributes.mode = socket ? vfs::kModeSocket | 0777 : 0600;
    found.attributes.nlink = 1;
    found.attributes.ino = 1;
    return found;
}

Result<Found> look_at_fd(Task& task, int fd) {
    RefPtr<vfs::File> file = TRY(file_or_path_of(task, fd));
    if (file->path()) return look_at(*file->path());
    if (!file->inode()) return anonymous(*file);
    return Found{TRY(file->inode()->attributes()), file->inode()->fs().device};
}

Result<Found> look_at_name(Task& task, int directory, UserString path, uint64_t flags) {
    // An empty name is the descriptor's own object, which need not have a place in the tree.
    if ((flags & kAtEmptyPath) && directory != kAtFdcwd && TRY(UserIn<char>{path.address}.load(task.space())) == '\0')
        return look_at_fd(task, directory);
    return look_at(TRY(path_at(task, directory, path, flags, follow_unless(flags & kAtSymlinkNofollow))));
}

FileTimespec to_user(const vfs::Timestamp& time) { return {time.seconds, time.nanoseconds}; }
FileStatxTime to_statx(const vfs::Timestamp& time) { return {time.seconds, time.nanoseconds, 0}; }

Result<int64_t> store_stat(Task& task, Result<Found> looked, UserOut<FileStat> out) {
    const Found found = TRY(std::move(looked));
    const Attributes& from = found.attributes;
    FileStat to{};
    to.device = found.device, to.inode = from.ino, to.links = from.nlink;
    to.mode = from.mode, to.uid = from.uid, to.gid = from.gid, to.rdev = from.rdev;
    to.size = static_cast<int64_t>(from.size), to.block_size = from.block_size,
    to.blocks = static_cast<int64_t>(from.blocks);
    to.access = to_user(from.atime), to.modification = to_user(from.mtime), to.change = to_user(from.ctime);
    return done(out.store(task.space(), to));
}

}  // namespace

Result<int64_t> sys_newfstatat(Task& task, DirFd directory, UserString path, UserOut<FileStat> out, Flags flags) {
    if (flags & ~(kAtSymlinkNofollow | kAtNoAutomount | kAtEmptyPath | kAtStatxSync)) return Errno::kINVAL;
    return store_stat(task, look_at_name(task, directory, path, flags), out);
}
Result<int64_t> sys_stat(Task& task, UserString path, UserOut<FileStat> out) {
    return store_stat(task, look_at_name(task, kAtFdcwd, path, 0), out);
}
Result<int64_t> sys_lstat(Task& task, UserString path, UserOut<FileStat> out) {
    return store_stat(task, look_at_name(task, kAtFdcwd, path, kAtSymlinkNofollow), out);
}
Result<int64_t> sys_fstat(Task& task, Fd fd, UserOut<FileStat> out) {
    return store_stat(task, look_at_fd(task, fd), out);
}

Result<int64_t> sys_statx(Task& task, DirFd directory, UserString path, Flags flags, Flags mask,
                          UserOut<FileStatx> out) {
    constexpr uint64_t kReserved = 0x80000000, kBasic = 0x7ff, kBirth = 0x800, kMountId = 0x1000,
                       kUniqueMountId = 0x4000;
    if ((flags & ~(kAtSymlinkNofollow | kAtNoAutomount | kAtEmptyPath | kAtStatxSync)) || (mask & kReserved))
        return Errno::kINVAL;
    if ((flags & kAtStatxSync) == kAtStatxSync) return Errno::kINVAL;
    const Found found = TRY(look_at_name(task, directory, path, flags));
    const Attributes& from = found.attributes;
    FileStatx to{};
    const bool unique = mask & kUniqueMountId;
    to.mask = static_cast<uint32_t>(kBasic | (from.btime.seconds ? kBirth : 0));
    if (found.mount) to.mask |= unique ? kUniqueMountId : kMountId;
    to.attributes = found.flags, to.attributes_mask = found.known_flags;
    to.block_size = from.block_size, to.links = from.nlink, to.uid = from.uid, to.gid = from.gid;
    to.mode = static_cast<uint16_t>(from.mode), to.inode = from.ino, to.size = from.size, to.blocks = from.blocks;
    to.access = to_statx(from.atime), to.birth = to_statx(from.btime), to.change = to_statx(from.ctime),
    to.modification = to_statx(from.mtime);
    to.rdev_major = vfs::major_of(from.rdev), to.rdev_minor = vfs::minor_of(from.rdev);
    to.device_major = vfs::major_of(found.device), to.device_minor = vfs::minor_of(found.device);
    to.mount_id = unique ? found.unique_mount : found.mount;
    return done(out.store(task.space(), to));
}

namespace {

// f_flags of statfs(2) for a mount.
int64_t statfs_flags(const vfs::Mount& mount) {
    constexpr int64_t kRelatime = 0x1000, kNosymfollow = 0x2000;
    constexpr uint64_t kSame = vfs::kMsNosuid | vfs::kMsNodev | vfs::kMsNoexec | vfs::kMsNoatime | vfs::kMsNodiratime;
    int64_t flags = static_cast<int64_t>(mount.flags & kSame);
    if (mount.readonly()) flags |= static_cast<int64_t>(vfs::kMsRdonly);
    if (mount.flags & vfs::kMsRelatime) flags |= kRelatime;
    if (mount.flags & vfs::kMsNosymfollow) flags |= kNosymfollow;
    return flags;
}

Result<int64_t> store_statistics(Task& task, const vfs::FsStatistics& from, const vfs::Path* path,
                                 UserOut<FileStatfs> out) {
    constexpr int64_t kValid = 0x20;
    FileStatfs to{};
    to.type = static_cast<int64_t>(from.type), to.block_size = static_cast<int64_t>(from.block_size),
    to.fragment_size = to.block_size;
    to.blocks = from.blocks, to.blocks_free = from.blocks_free, to.blocks_available = from.blocks_available;
    to.files = from.files, to.files_free = from.files_free, to.name_length = static_cast<int64_t>(from.name_length);
    to.id[0] = static_cast<int32_t>(from.id), to.id[1] = static_cast<int32_t>(from.id >> 32);
    to.flags = kValid | (path ? statfs_flags(path->mount()) : 0);
    return done(out.store(task.space(), to));
}

}  // namespace

Result<int64_t> sys_statfs(Task& task, UserString path, UserOut<FileStatfs> out) {
    const vfs::Path found = TRY(path_at(task, kAtFdcwd, path, 0, Follow::kYes));
    return store_statistics(task, TRY(found.inode().fs().statistics()), &found, out);
}

Result<int64_t> sys_fstatfs(Task& task, Fd fd, UserOut<FileStatfs> out) {
    RefPtr<vfs::File> file = TRY(file_or_path_of(task, fd));
    if (file->inode()) return store_statistics(task, TRY(file->inode()->fs().statistics()), file->path(), out);
    vfs::FsStatistics anonymous{};  // of Linux's anon_inodefs
    anonymous.type = 0x09041934;
    return store_statistics(task, anonymous, nullptr, out);
}

namespace {

// access(2) asks with the real ids, and with the capabilities that go with them.
Result<RefPtr<auth::Credentials>> real_credentials(const auth::Credentials& from) {
    RefPtr<auth::Credentials> real = TRY(from.clone());
    real->fsuid = from.ruid, real->fsgid = from.rgid;
    real->effective = from.ruid == 0 ? from.permitted : auth::CapabilitySet{};
    return real;
}

}  // namespace

Result<int64_t> sys_faccessat2(Task& task, DirFd directory, UserString path, Mode mode, Flags flags) {
    constexpr uint32_t kExecute = 1, kWrite = 2;
    if (flags & ~(kAtEaccess | kAtSymlinkNofollow | kAtEmptyPath)) return Errno::kINVAL;
    if (mode & ~7U) return Errno::kINVAL;
    RefPtr<auth::Credentials> real;
    const auth::Credentials* who = &task.credentials();
    if (!(flags & kAtEaccess) && (who->ruid != who->fsuid || who->rgid != who->fsgid ||
                                  who->effective.bits != who->permitted.bits || who->ruid != 0)) {
        real = TRY(real_credentials(*who));
        who = real.get();
    }
    const NameAt name = TRY(name_at(task, directory, path));
    vfs::Path found = name.base;
    if (!name.text.empty() || !(flags & kAtEmptyPath))
        found = TRY(vfs::walk({task.fs(), *who}, name.base, name.text, follow_unless(flags & kAtSymlinkNofollow)));
    if (mode == 0) return int64_t{0};
    vfs::Inode& inode = found.inode();
    if ((mode & kExecute) && inode.type() == vfs::kModeRegular && (found.mount().flags & vfs::kMsNoexec))
        return Errno::kACCES;
    TRY(vfs::check_permission(*who, inode, mode));
    const bool on_disk = inode.type() == vfs::kModeRegular || inode.is_directory() || inode.is_link();
    if ((mode & kWrite) && on_disk && found.mount().readonly()) return Errno::kROFS;
    return int64_t{0};
}
Result<int64_t> sys_faccessat(Task& task, DirFd directory, UserString path, Mode mode) {
    return sys_faccessat2(task, directory, path, mode, {0});
}
Result<int64_t> sys_access(Task& task, UserString path, Mode mode) {
    return sys_faccessat2(task, {kAtFdcwd}, path, mode, {0});
}

}  // namespace kvmsbx::syscalls
