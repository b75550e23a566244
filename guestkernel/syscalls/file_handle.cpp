// name_to_handle_at(2), open_by_handle_at(2). A handle is what Linux's tmpfs gives: the inode's generation, which is
// always 0 here since numbers are not used twice, and its number in two halves.
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/vfs/handle.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::syscalls {

namespace {

constexpr uint32_t kMaxHandle = 128;                       // MAX_HANDLE_SZ
constexpr int32_t kTypeTmpfs = 1, kTypeNumberOnly = 0x81;  // FILEID_INO32_GEN as tmpfs uses it; FILEID_INO64_GEN

struct Handle {
    uint32_t words[3];
};

Handle handle_of(uint64_t number, bool decodable) {
    const auto low = static_cast<uint32_t>(number), high = static_cast<uint32_t>(number >> 32);
    return decodable ? Handle{{0, low, high}} : Handle{{low, high, 0}};
}

Result<> store_mount(Task& task, UserBuffer to, const vfs::Mount& mount, bool unique) {
    if (unique) return UserOut<uint64_t>{to.address}.store(task.space(), mount.unique_id());
    return UserOut<int32_t>{to.address}.store(task.space(), mount.id);
}

}  // namespace

Result<int64_t> sys_name_to_handle_at(Task& task, DirFd directory, UserString path, UserInOut<FileHandle> user,
                                      UserBuffer mount, Flags flags) {
    constexpr uint64_t kUniqueMount = 1, kConnectable = 2, kNumberOnly = 0x200;
    if (flags & ~(kAtSymlinkFollow | kAtEmptyPath | kUniqueMount | kConnectable | kNumberOnly)) return Errno::kINVAL;
    if ((flags & kConnectable) && (flags & kNumberOnly)) return Errno::kINVAL;
    const vfs::Path found = TRY(path_at(task, directory, path, flags, follow_unless(!(flags & kAtSymlinkFollow))));
    const bool decodable = found.inode().fs().has_file_handles();
    if (!decodable && !(flags & kNumberOnly)) return Errno::kOPNOTSUPP;
    if (flags & kConnectable) return Errno::kOPNOTSUPP;
    FileHandle head = TRY(user.load(task.space()));
    if (head.size > kMaxHandle) return Errno::kINVAL;
    const bool fits = head.size >= sizeof(Handle);
    const Handle handle = handle_of(TRY(found.inode().attributes()).ino, decodable);
    head.size = sizeof handle;
    head.type = !fits ? 0xff : decodable ? kTypeTmpfs : kTypeNumberOnly;
    TRY(store_mount(task, mount, found.mount(), flags & kUniqueMount));
    TRY(user.store(task.space(), head));
    if (!fits) return Errno::kOVERFLOW;
    return done(UserOut<Handle>{user.address + sizeof head}.store(task.space(), handle));
}

Result<int64_t> sys_open_by_handle_at(Task& task, DirFd directory, UserIn<FileHandle> user, OpenFlags flags) {
    const FileHandle head = TRY(user.load(task.space()));
    if (head.size == 0 || head.size > kMaxHandle || head.type < 0) return Errno::kINVAL;
    const vfs::Path base = TRY(base_of(task, directory, {}));
    if (!task.credentials().has(auth::Capability::kDacReadSearch)) return Errno::kPERM;
    uint32_t words[kMaxHandle / sizeof(uint32_t)] = {};
    TRY(mm::copy_from_user(task.space(), words, user.address + sizeof head, head.size));
    if (!base.inode().fs().has_file_handles() || head.size < sizeof(Handle) || words[0] != 0) return Errno::kSTALE;
    const uint64_t number = words[1] | static_cast<uint64_t>(words[2]) << 32;
    const vfs::Path found = TRY(vfs::find_by_number(base.mount(), number));
    return install(task, TRY(vfs::open_found(task.caller(), found, flags)), flags & vfs::kOCloexec);
}

}  // namespace kvmsbx::syscalls
