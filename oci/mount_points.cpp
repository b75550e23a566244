#include "oci/mount_points.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "common/host/fd.hpp"
#include "gofer/destinations.hpp"

namespace kvmsbx::oci {
namespace {

// Who owns what is made: the container's root.
struct Owner {
    uint32_t uid = 0, gid = 0;
};

uint32_t outside_of_root(const std::vector<IdMapping>& mappings) {
    for (const IdMapping& mapping : mappings)
        if (mapping.inside == 0) return mapping.outside;
    return 0;
}

bool is_file(const std::filesystem::path& bundle, const MountSpec& mount) {
    std::error_code ignored;
    return mount.is_bind() && std::filesystem::exists(bundle / mount.source, ignored) &&
           !std::filesystem::is_directory(bundle / mount.source, ignored);
}

class MountPoints {
  public:
    MountPoints(const host::Fd& root, Owner owner) : root_(root), owner_(owner) {}

    // Makes what is missing of the path, which has no symlinks. False and errno.
    bool make(const std::string& path, bool file) {
        for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
            const bool last = slash == std::string::npos;
            const std::string part = path.substr(0, slash);
            if (!open(part).is_open() && !make_one(part, file && last)) return false;
            if (last) return true;
        }
    }
    bool exists(const std::string& path) const { return open(path).is_open(); }

  private:
    // Links were followed already: one that appears now is somebody's attempt to lead us away.
    host::Fd open(const std::string& path) const {
        open_how how{};
        how.flags = O_PATH | O_CLOEXEC;
        how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
        return host::Fd(static_cast<int>(syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how)));
    }
    bool make_one(const std::string& path, bool file) const {
        const std::filesystem::path whole(path);
        const host::Fd folder = open(whole.parent_path());
        if (!folder.is_open()) return false;
        const std::string name = whole.filename();
        if (file) {
            const int flags = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW;
            const host::Fd made(openat(folder.get(), name.c_str(), flags, 0644));
            if (!made.is_open()) return errno == EEXIST;
        } else if (mkdirat(folder.get(), name.c_str(), 0755) != 0) {
            return errno == EEXIST;
        }
        return (owner_.uid == 0 && owner_.gid == 0) ||
               fchownat(folder.get(), name.c_str(), owner_.uid, owner_.gid, AT_SYMLINK_NOFOLLOW) == 0;
    }

    const host::Fd& root_;
    const Owner owner_;
};

// What lies in another mount is that one's business, and the sandbox's.
bool is_covered(const std::string& path, const std::vector<std::string>& mounted) {
    return std::any_of(mounted.begin(), mounted.end(),
                       [&](const std::string& other) { return path == other || path.starts_with(other + "/"); });
}

}  // namespace

std::vector<size_t> make_mount_points(const Bundle& bundle, Reporter& reporter) {
    const Spec& spec = bundle.spec;
    const std::filesystem::path folder(bundle.path);
    const host::Fd root(open((folder / spec.root_path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root.is_open()) return {};  // the gofer says it
    MountPoints points(root, {outside_of_root(spec.uid_mappings), outside_of_root(spec.gid_mappings)});
    std::vector<std::string> mounted;
    std::vector<size_t> missing;
    for (size_t i = 0; i < spec.mounts.size(); ++i) {
        const MountSpec& mount = spec.mounts[i];
        const std::string place = gofer::resolve_destination(root.get(), mount.destination);
        if (place.size() < 2) continue;  // "": too many links, which the gofer says; "/": it is there
        if (!is_covered(place, mounted) && !points.exists(place)) {
            missing.push_back(i);
            if (!points.make(place, is_file(folder, mount)))
                reporter.debug("mount point " + mount.destination + " (" + place +
                               " in the image) cannot be made: " + strerror(errno));
        }
        mounted.push_back(place);
    }
    return missing;
}

}  // namespace kvmsbx::oci
