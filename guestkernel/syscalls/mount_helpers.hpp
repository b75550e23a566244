#pragma once
// What the mount calls share. Inside syscalls/ only.
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_mount.hpp"
#include "guestkernel/vfs/mount_tree.hpp"

namespace kvmsbx::syscalls {

inline Result<> may_mount(Task& task) {
    return task.credentials().has(auth::Capability::kSysAdmin) ? Result<>() : Result<>(Errno::kPERM);
}

// A string argument; one that is too long is EINVAL here.
Result<String> load_mount_text(Task& task, UserString text, size_t limit = 4096);

// mount_options.cpp: ENODEV, EINVAL (options), EPERM (9p: what the gofer serves is the bundle's business).
Result<RefPtr<vfs::Inode>> make_new_file_system(std::string_view type, std::string_view source,
                                                std::string_view options, bool readonly);

// mount_attributes.cpp: MOUNT_ATTR_* of fsmount(2) and mount_setattr(2). EINVAL: no such time setting.
inline constexpr uint64_t kMountAttributes = 0x2000ff;
Result<uint64_t> mount_flags_of_attributes(uint64_t attributes);

}  // namespace kvmsbx::syscalls
