#include "guestkernel/syscalls/mount_helpers.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::syscalls {

bool take_super_flag(std::string_view key, bool& readonly) {
    constexpr std::string_view kWithoutEffect[] = {"async",      "dirsync", "lazytime", "mand",
                                                   "nolazytime", "nomand",  "sync"};
    if (key == "ro" || key == "rw") {
        readonly = key == "ro";
        return true;
    }
    for (std::string_view known : kWithoutEffect)
        if (key == known) return true;
    return false;
}

Result<> split_super_flags(std::string_view data, bool& readonly, String& rest) {
    while (!data.empty()) {
        const std::string_view option = data.substr(0, data.find(','));
        data.remove_prefix(option.size() < data.size() ? option.size() + 1 : data.size());
        if (option.empty() || take_super_flag(option, readonly)) continue;
        if (!rest.empty()) TRY(rest.append(','));
        TRY(rest.append(option));
    }
    return {};
}

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
