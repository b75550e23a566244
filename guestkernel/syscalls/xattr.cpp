// xattr(7). Arguments are checked before the path is looked up, as in Linux's fs/xattr.c.
#include "guestkernel/vfs/xattr.hpp"

#include "guestkernel/syscalls/file_helpers.hpp"

namespace kvmsbx::syscalls {

namespace {

constexpr vfs::Follow kFollow = vfs::Follow::kYes, kItself = vfs::Follow::kNo;

Result<String> load_name(Task& task, UserString user) {
    Result<String> name = user.load(task.space(), vfs::kMaxXattrName + 1);
    if (name.is_error()) return name.error() == Errno::kNAMETOOLONG ? Errno::kRANGE : name.error();
    if (name.value().empty()) return Errno::kRANGE;
    return name;
}

struct NewValue {
    String name;
    Vector<uint8_t> value;
    uint32_t flags;
};

Result<NewValue> load_value(Task& task, UserString name, UserBuffer value, size_t size, uint64_t flags) {
    if (flags & ~uint64_t{vfs::kXattrCreate | vfs::kXattrReplace}) return Errno::kINVAL;
    NewValue loaded{TRY(load_name(task, name)), {}, static_cast<uint32_t>(flags)};
    if (size > vfs::kMaxXattrValue) return Errno::k2BIG;
    TRY(loaded.value.resize(size));
    TRY(mm::copy_from_user(task.space(), loaded.value.data(), value.address, size));
    return loaded;
}

// Gives the size when `size` is 0. ERANGE: it does not fit.
Result<int64_t> store(Task& task, const Vector<uint8_t>& bytes, UserBuffer to, size_t size) {
    if (size == 0) return static_cast<int64_t>(bytes.size());
    if (bytes.size() > size) return Errno::kRANGE;
    TRY(mm::copy_to_user(task.space(), to.address, bytes.data(), bytes.size()));
    return static_cast<int64_t>(bytes.size());
}

// A descriptor's object, with its place if it has one.
Result<RefPtr<vfs::File>> object_of(Task& task, int fd) {
    RefPtr<vfs::File> file = TRY(file_of(task, fd));
    if (!file->inode()) return Errno::kOPNOTSUPP;
    return file;
}

Result<int64_t> set_at(Task& task, UserString path, UserString name, UserBuffer value, size_t size, uint64_t flags,
                       vfs::Follow follow) {
    const NewValue wanted = TRY(load_value(task, name, value, size, flags));
    const vfs::Path place = TRY(path_at(task, vfs::kAtFdcwd, path, 0, follow));
    return done(vfs::set_xattr(task.credentials(), place, wanted.name, wanted.value.span(), wanted.flags));
}

Result<int64_t> get_at(Task& task, UserString path, UserString user_name, UserBuffer value, size_t size,
                       vfs::Follow follow) {
    const String name = TRY(load_name(task, user_name));
    const vfs::Path place = TRY(path_at(task, vfs::kAtFdcwd, path, 0, follow));
    return store(task, TRY(vfs::get_xattr(task.credentials(), place.inode(), name)), value, size);
}

Result<int64_t> list_at(Task& task, UserString path, UserBuffer list, size_t size, vfs::Follow follow) {
    const vfs::Path place = TRY(path_at(task, vfs::kAtFdcwd, path, 0, follow));
    return store(task, TRY(vfs::list_xattrs(task.credentials(), place.inode())), list, size);
}

Result<int64_t> remove_at(Task& task, UserString path, UserString user_name, vfs::Follow follow) {
    const String name = TRY(load_name(task, user_name));
    const vfs::Path place = TRY(path_at(task, vfs::kAtFdcwd, path, 0, follow));
    return done(vfs::remove_xattr(task.credentials(), place, name));
}

}  // namespace

Result<int64_t> sys_setxattr(Task& task, UserString path, UserString name, UserBuffer value, size_t size, Flags flags) {
    return set_at(task, path, name, value, size, flags, kFollow);
}
Result<int64_t> sys_lsetxattr(Task& task, UserString path, UserString name, UserBuffer value, size_t size,
                              Flags flags) {
    return set_at(task, path, name, value, size, flags, kItself);
}
Result<int64_t> sys_fsetxattr(Task& task, Fd fd, UserString name, UserBuffer value, size_t size, Flags flags) {
    const NewValue wanted = TRY(load_value(task, name, value, size, flags));
    const RefPtr<vfs::File> file = TRY(object_of(task, fd));
    if (!file->path()) return Errno::kOPNOTSUPP;
    return done(vfs::set_xattr(task.credentials(), *file->path(), wanted.name, wanted.value.span(), wanted.flags));
}

Result<int64_t> sys_getxattr(Task& task, UserString path, UserString name, UserBuffer value, size_t size) {
    return get_at(task, path, name, value, size, kFollow);
}
Result<int64_t> sys_lgetxattr(Task& task, UserString path, UserString name, UserBuffer value, size_t size) {
    return get_at(task, path, name, value, size, kItself);
}
Result<int64_t> sys_fgetxattr(Task& task, Fd fd, UserString user_name, UserBuffer value, size_t size) {
    const String name = TRY(load_name(task, user_name));
    const RefPtr<vfs::File> file = TRY(object_of(task, fd));
    return store(task, TRY(vfs::get_xattr(task.credentials(), *file->inode(), name)), value, size);
}

Result<int64_t> sys_listxattr(Task& task, UserString path, UserBuffer list, size_t size) {
    return list_at(task, path, list, size, kFollow);
}
Result<int64_t> sys_llistxattr(Task& task, UserString path, UserBuffer list, size_t size) {
    return list_at(task, path, list, size, kItself);
}
Result<int64_t> sys_flistxattr(Task& task, Fd fd, UserBuffer list, size_t size) {
    const RefPtr<vfs::File> file = TRY(file_of(task, fd));
    if (!file->inode()) return int64_t{0};
    return store(task, TRY(vfs::list_xattrs(task.credentials(), *file->inode())), list, size);
}

Result<int64_t> sys_removexattr(Task& task, UserString path, UserString name) {
    return remove_at(task, path, name, kFollow);
}
Result<int64_t> sys_lremovexattr(Task& task, UserString path, UserString name) {
    return remove_at(task, path, name, kItself);
}
Result<int64_t> sys_fremovexattr(Task& task, Fd fd, UserString user_name) {
    const String name = TRY(load_name(task, user_name));
    const RefPtr<vfs::File> file = TRY(object_of(task, fd));
    if (!file->path()) return Errno::kOPNOTSUPP;
    return done(vfs::remove_xattr(task.credentials(), *file->path(), name));
}

}  // namespace kvmsbx::syscalls
