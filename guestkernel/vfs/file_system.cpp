#include "guestkernel/vfs/file_system.hpp"

#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::vfs {

namespace {
Vector<FileSystemType> types;
}

Result<> register_file_system(std::string_view name, FileSystemFactory factory, std::string_view options,
                              bool needs_device) {
    return types.push_back({name, factory, options, needs_device});
}

Result<> check_mount_options(std::string_view name, std::string_view data) {
    for (const FileSystemType& type : types) {
        if (type.name != name) continue;
        while (!data.empty()) {
            const std::string_view option = data.substr(0, data.find(','));
            data.remove_prefix(option.size() < data.size() ? option.size() + 1 : data.size());
            std::string_view ignored;
            if (!mount_option(type.options, option.substr(0, option.find('=')), ignored)) return Errno::kINVAL;
        }
        return {};
    }
    return Errno::kNODEV;
}

Result<RefPtr<Inode>> make_file_system(std::string_view name, const MountOptions& options) {
    for (const FileSystemType& type : types)
        if (type.name == name) return type.factory(options);
    return Errno::kNODEV;
}

std::span<const FileSystemType> file_system_types() { return types.span(); }

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

bool mount_option(std::string_view data, std::string_view key, std::string_view& value) {
    while (!data.empty()) {
        const std::string_view option = data.substr(0, data.find(','));
        data.remove_prefix(option.size() < data.size() ? option.size() + 1 : data.size());
        const size_t equals = option.find('=');
        if (option.substr(0, equals) != key) continue;
        value = equals == option.npos ? std::string_view() : option.substr(equals + 1);
        return true;
    }
    return false;
}

}  // namespace kvmsbx::vfs
