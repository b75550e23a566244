#pragma once
// File system types by name ("tmpfs", "9p", "proc"...): the file systems in fs/ plug in here.
#include "guestkernel/vfs/inode.hpp"

namespace kvmsbx::vfs {

struct MountOptions {
    std::string_view source, data;  // data: comma-separated options of the type
    uint64_t flags = 0;             // MS_*
    bool shared_access = false;     // 9p: what the host changes is seen
};

// Gives the root directory's inode of a new (or shared) file system. EINVAL for options it does not take.
using FileSystemFactory = Result<RefPtr<Inode>> (*)(const MountOptions& options);

// options: the keys that mount(2) may give, "size,mode"; needs_device: no "nodev" in /proc/filesystems. The texts must
// live for ever.
Result<> register_file_system(std::string_view name, FileSystemFactory factory, std::string_view options = {},
                              bool needs_device = false);
// ENODEV: no such type; EINVAL: `data` has a key that it does not know.
Result<> check_mount_options(std::string_view name, std::string_view data);
// Options that every type takes (vfs_parse_sb_flag of Linux). True: the key is one of them; `ro` and `rw` change
// `readonly`.
bool take_super_flag(std::string_view key, bool& readonly);
// Takes those out of "a=1,ro,b"; what is left is the type's own.
Result<> split_super_flags(std::string_view data, bool& readonly, String& rest);
// ENODEV: no such type.
Result<RefPtr<Inode>> make_file_system(std::string_view name, const MountOptions& options);

struct FileSystemType {
    std::string_view name;
    FileSystemFactory factory;
    std::string_view options;
    bool needs_device;
};
std::span<const FileSystemType> file_system_types();

// The value of `key` in "a=1,key=2,flag"; false if it is not there. A key without "=" has an empty value.
bool mount_option(std::string_view data, std::string_view key, std::string_view& value);

}  // namespace kvmsbx::vfs
