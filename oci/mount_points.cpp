#include "oci/mount_points.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {
namespace {

host::Fd open_in_root(int root, const std::string& path) {
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return host::Fd(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

bool is_file(const std::filesystem::path& bundle, const MountSpec& mount) {
    std::error_code ignored;
    return mount.type == "bind" && std::filesystem::exists(bundle / mount.source, ignored) &&
           !std::filesystem::is_directory(bundle / mount.source, ignored);
}

// Makes the last component of `path` in the folder that the rest leads to.
bool make_one(int root, const std::string& path, bool file) {
    const std::filesystem::path whole(path);
    const host::Fd folder = open_in_root(root, whole.parent_path());
    if (!folder.is_open()) return false;
    const std::string name = whole.filename();
    if (!file) return mkdirat(folder.get(), name.c_str(), 0755) == 0 || errno == EEXIST;
    const host::Fd made(openat(folder.get(), name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644));
    return made.is_open() || errno == EEXIST;
}

bool make_path(int root, const std::string& destination, bool file) {
    for (size_t slash = destination.find('/', 1);; slash = destination.find('/', slash + 1)) {
        const bool last = slash == std::string::npos;
        const std::string part = destination.substr(0, slash);
        if (!open_in_root(root, part).is_open() && !make_one(root, part, file && last)) return false;
        if (last) return true;
    }
}

}  // namespace

void make_mount_points(const Bundle& bundle, Reporter& reporter) {
    if (!bundle.spec.root_readonly) return;
    const std::filesystem::path folder(bundle.path);
    const host::Fd root(open((folder / bundle.spec.root_path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root.is_open()) return;  // the gofer says it
    for (const MountSpec& mount : bundle.spec.mounts) {
        const std::string destination = std::filesystem::path(mount.destination).lexically_normal();
        // What lies below another mount is that one's business.
        bool below = false;
        for (const MountSpec& other : bundle.spec.mounts)
            below |= &other != &mount && destination.starts_with(other.destination + "/");
        if (below || destination.size() < 2 || open_in_root(root.get(), destination).is_open()) continue;
        if (!make_path(root.get(), destination, is_file(folder, mount)))
            reporter.debug("mount point " + destination +
                           " is not in the image and cannot be made: " + strerror(errno));
    }
}

}  // namespace kvmsbx::oci
