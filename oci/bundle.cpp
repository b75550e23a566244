#include "oci/bundle.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "common/host/fd.hpp"
#include "common/host/submounts.hpp"

namespace kvmsbx::oci {
namespace {

Outcome<std::string> absolute_folder(const std::string& folder) {
    char resolved[PATH_MAX];
    if (!realpath(folder.c_str(), resolved)) return errno_failure("bundle " + folder, errno);
    struct stat status {};
    if (stat(resolved, &status) < 0) return errno_failure("bundle " + folder, errno);
    if (!S_ISDIR(status.st_mode))
        return Failure{"bundle " + folder +
                       ": not a folder; a bundle is a folder with config.json and a root file system"};
    return std::string(resolved);
}

Outcome<std::string> read_config(const std::string& path) {
    host::Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.is_open()) {
        const char* hint = errno == ENOENT ? " (`kvmsbx spec` writes one)" : "";
        return Failure{path + ": " + std::strerror(errno) + hint};
    }
    struct stat status {};
    if (fstat(fd.get(), &status) < 0) return errno_failure(path, errno);
    if (!S_ISREG(status.st_mode)) return Failure{path + ": not a regular file"};
    std::string text;
    char buffer[16 * 1024];
    for (;;) {
        const ssize_t n = read(fd.get(), buffer, sizeof buffer);
        if (n < 0) return errno_failure(path, errno);
        if (n == 0) return text;
        text.append(buffer, static_cast<size_t>(n));
        if (text.size() > kMaxConfigBytes)
            return Failure{path + ": larger than " + std::to_string(kMaxConfigBytes) + " bytes"};
    }
}

std::string on_host(const Bundle& bundle, const std::string& path) {
    return path[0] == '/' ? path : bundle.path + "/" + path;
}

Failure at_field(const Bundle& bundle, const std::string& field, const std::string& problem) {
    const size_t line = find_line(bundle.config_text, field);
    return Failure{bundle.config_path + ": line " + std::to_string(line) + ": " + field + ": " + problem};
}

Outcome<> check_host_paths(const Bundle& bundle) {
    const std::string root = on_host(bundle, bundle.spec.root_path);
    struct stat status {};
    if (stat(root.c_str(), &status) < 0) {
        return at_field(bundle, "root.path",
                        root + ": " + std::strerror(errno) + "; put the root file system there or correct the path");
    }
    if (!S_ISDIR(status.st_mode)) return at_field(bundle, "root.path", root + ": not a folder");
    for (size_t i = 0; i < bundle.spec.mounts.size(); ++i) {
        const MountSpec& mount = bundle.spec.mounts[i];
        if (!mount.is_bind() || stat(on_host(bundle, mount.source).c_str(), &status) == 0) continue;
        return at_field(bundle, "mounts[" + std::to_string(i) + "].source",
                        on_host(bundle, mount.source) + ": " + std::strerror(errno));
    }
    return {};
}

// "ro" is for the top of a bind mount alone: what is mounted below stays as it is (runc). Inside it is one mount, which
// must not be read-only as a whole then; the gofer's mount refuses to write to the top.
void leave_readonly_to_the_gofer(Bundle& bundle) {
    for (MountSpec& mount : bundle.spec.mounts) {
        const bool top_only = mount.is_bind() && (mount.flags & MS_RDONLY) && !mount.recursive_readonly;
        if (top_only && mount.recursive_bind && host::has_submounts(on_host(bundle, mount.source)))
            mount.flags &= ~static_cast<uint64_t>(MS_RDONLY);
    }
}

}  // namespace

Outcome<Bundle> load_bundle(const std::string& folder) {
    Bundle bundle;
    bundle.path = TRY(absolute_folder(folder.empty() ? "." : folder));
    bundle.config_path = bundle.path + "/config.json";
    bundle.config_text = TRY(read_config(bundle.config_path));
    bundle.spec = TRY(parse_spec(bundle.config_text, bundle.config_path));
    TRY(check_host_paths(bundle));
    leave_readonly_to_the_gofer(bundle);
    return bundle;
}

}  // namespace kvmsbx::oci
