#include "guestkernel/syscalls/mount_helpers.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::syscalls {

Result<RefPtr<vfs::Inode>> make_new_file_system(std::string_view type, std::string_view source,
                                                std::string_view options, bool readonly) {
    TRY(vfs::check_mount_options(type, options));
    if (type == "9p") return Errno::kPERM;
    RefPtr<vfs::Inode> root = TRY(vfs::make_file_system(type, {source, options, readonly ? vfs::kMsRdonly : 0}));
    bool is_new = true;
    for (const vfs::Mount& mount : vfs::all_mounts()) is_new = is_new && &mount.fs() != &root->fs();
    if (is_new) root->fs().readonly = readonly;
    return root;
}

}  // namespace kvmsbx::syscalls
