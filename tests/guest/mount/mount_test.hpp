#pragma once
// What the mount family's cases share. Each case works on a tmpfs of its own, private, so that nothing that it mounts
// is left behind: the whole tree goes when the case's folder is unmounted.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <string>

#include "tests/guest/guest_test.hpp"

namespace mounts {

// Numbers that old headers lack.
inline constexpr int kOpenTree = 428, kMoveMount = 429, kFsopen = 430, kFsconfig = 431, kFsmount = 432, kFspick = 433,
                     kMountSetattr = 442, kStatmount = 457, kListmount = 458;
inline constexpr unsigned kTreeClone = 1, kRecursive = 0x8000, kFromEmpty = 4, kToEmpty = 0x40, kSetGroup = 0x100,
                          kBeneath = 0x200;

struct Attributes {
    uint64_t set = 0, clear = 0, propagation = 0, user_namespace = 0;
};

inline int sys_open_tree(int directory, const char* path, unsigned flags) {
    return static_cast<int>(syscall(kOpenTree, directory, path, flags));
}
inline int sys_move_mount(int from, const char* from_path, int to, const char* to_path, unsigned flags) {
    return static_cast<int>(syscall(kMoveMount, from, from_path, to, to_path, flags));
}
inline int sys_fsopen(const char* type, unsigned flags) { return static_cast<int>(syscall(kFsopen, type, flags)); }
inline int sys_fsconfig(int fd, unsigned command, const void* key, const void* value, int aux) {
    return static_cast<int>(syscall(kFsconfig, fd, command, key, value, aux));
}
inline int sys_fsmount(int fd, unsigned flags, unsigned attributes) {
    return static_cast<int>(syscall(kFsmount, fd, flags, attributes));
}
inline int sys_fspick(int directory, const char* path, unsigned flags) {
    return static_cast<int>(syscall(kFspick, directory, path, flags));
}
inline int sys_mount_setattr(int directory, const char* path, unsigned flags, const void* attributes, size_t size) {
    return static_cast<int>(syscall(kMountSetattr, directory, path, flags, attributes, size));
}

inline int mount_tmpfs(const char* path) { return mount("case", path, "tmpfs", 0, nullptr); }
inline int mount_bind(const char* from, const char* to) { return mount(from, to, nullptr, MS_BIND, nullptr); }
inline bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }
inline void make_directory(const char* path) { OK(mkdir(path, 0755)); }
inline void make_file(const std::string& path) { CHECK(guest::write_file(path.c_str(), "x")); }

// A fresh private tmpfs, which is the working directory then.
inline std::string base_mount() {
    const std::string path = guest::scratch();
    OK(mount_tmpfs(path.c_str()));
    OK(mount(nullptr, path.c_str(), nullptr, MS_PRIVATE, nullptr));
    OK(chdir(path.c_str()));
    return path;
}

// The line of /proc/self/mountinfo of the last mount on that absolute path, or "".
inline std::string info_of(const std::string& path) {
    std::string text;
    char chunk[4096];
    const int fd = OK(open("/proc/self/mountinfo", O_RDONLY));
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0;) text.append(chunk, static_cast<size_t>(n));
    close(fd);
    std::string found;
    for (size_t at = 0; at < text.size();) {
        const size_t end = text.find('\n', at);
        const std::string line = text.substr(at, end - at);
        if (line.find(" " + path + " ") != line.npos) found = line;
        at = end + 1;
    }
    return found;
}
// The number behind "shared:" or "master:" of its optional fields; 0: none.
inline int field_of(const std::string& path, const std::string& name) {
    const std::string line = info_of(path);
    CHECK(!line.empty());
    const size_t at = line.find(" " + name + ":");
    return at == line.npos ? 0 : atoi(line.c_str() + at + name.size() + 2);
}
// The mount options of its line.
inline std::string options_of(const std::string& path) {
    const std::string line = info_of(path);
    CHECK(!line.empty());
    const size_t at = line.find(" " + path + " ") + path.size() + 2;
    return line.substr(at, line.find(' ', at) - at);
}
inline int mounts_on(const std::string& path) { return info_of(path).empty() ? 0 : 1; }

inline void drop_privileges() {
    OK(setresgid(1000, 1000, 1000));
    OK(setresuid(1000, 1000, 1000));
}

}  // namespace mounts
