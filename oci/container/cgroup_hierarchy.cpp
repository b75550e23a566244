#include "oci/container/cgroup_hierarchy.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>

#include "oci/container/small_file.hpp"

namespace kvmsbx::oci {
namespace {

struct CgroupMount {
    std::string root;   // which folder of the hierarchy is mounted
    std::string point;  // where
    bool unified;
    std::vector<std::string_view> options;  // of the super block: the controllers are among them
};

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const size_t end = std::min(text.find(separator), text.size());
        if (end > 0) parts.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

// proc(5): spaces and such are written as \040.
std::string unescape(std::string_view text) {
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto digit = [&](size_t n) { return i + n < text.size() && text[i + n] >= '0' && text[i + n] <= '7'; };
        if (text[i] == '\\' && digit(1) && digit(2) && digit(3)) {
            plain += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

// "31 23 0:28 ROOT POINT rw,relatime ... - cgroup cgroup rw,memory"
std::optional<CgroupMount> parse_mount_line(std::string_view line) {
    const std::vector<std::string_view> words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) return std::nullopt;
    const std::string_view type = dash[1];
    if (type != "cgroup" && type != "cgroup2") return std::nullopt;
    return CgroupMount{unescape(words[3]), unescape(words[4]), type == "cgroup2", split(dash[3], ',')};
}

bool has_controllers(const CgroupMount& mount, std::string_view controllers) {
    const std::vector<std::string_view> names = split(controllers, ',');
    return std::all_of(names.begin(), names.end(), [&](std::string_view name) {
        return std::find(mount.options.begin(), mount.options.end(), name) != mount.options.end();
    });
}

// Where the cgroup `path` is seen below the mount. "/.." leads out of a cgroup namespace: nowhere.
std::string folder_below(const CgroupMount& mount, std::string_view path) {
    if (path == "/.." || path.starts_with("/../")) return "";
    if (mount.root == "/") return mount.point + (path == "/" ? "" : std::string(path));
    if (path == mount.root) return mount.point;
    if (path.starts_with(mount.root + "/")) return mount.point + std::string(path.substr(mount.root.size()));
    return "";
}

}  // namespace

std::vector<CgroupHierarchy> parse_cgroup_hierarchies(std::string_view mountinfo, std::string_view own_cgroups) {
    std::vector<CgroupMount> mounts;
    for (const std::string_view line : split(mountinfo, '\n'))
        if (std::optional<CgroupMount> mount = parse_mount_line(line)) mounts.push_back(*std::move(mount));
    std::vector<CgroupHierarchy> hierarchies;
    for (const std::string_view line : split(own_cgroups, '\n')) {  // "4:memory:/path", "0::/path"
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string_view::npos || second == std::string_view::npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        const auto mount = std::find_if(mounts.begin(), mounts.end(), [&](const CgroupMount& m) {
            return m.unified == controllers.empty() && has_controllers(m, controllers);
        });
        if (mount == mounts.end()) continue;
        hierarchies.push_back(
            {std::string(controllers), mount->unified, mount->point, folder_below(*mount, line.substr(second + 1))});
    }
    return hierarchies;
}

Outcome<std::vector<CgroupHierarchy>> host_cgroup_hierarchies() {
    std::string mountinfo, own;
    if (!read_small_file("/proc/self/mountinfo", mountinfo)) return errno_failure("/proc/self/mountinfo", errno);
    if (!read_small_file("/proc/self/cgroup", own)) return errno_failure("/proc/self/cgroup", errno);
    return parse_cgroup_hierarchies(mountinfo, own);
}

std::string cgroup_folder(const CgroupHierarchy& hierarchy, const std::string& cgroups_path) {
    std::string base = hierarchy.mount;
    if (!cgroups_path.starts_with('/') && !hierarchy.own.empty()) {
        base = hierarchy.own;
        if (hierarchy.unified && base != hierarchy.mount) base = std::filesystem::path(base).parent_path();
    }
    std::string below = std::filesystem::path("/" + cgroups_path).lexically_normal();
    while (below.ends_with('/')) below.pop_back();
    return base + below;
}

Outcome<> enter_cgroups(const std::vector<std::string>& folders) {
    for (const std::string& folder : folders)
        if (!write_small_file(folder + "/cgroup.procs", "0")) return errno_failure("entering cgroup " + folder, errno);
    return {};
}

Outcome<CgroupMembership> CgroupMembership::current() {
    std::vector<std::string> folders;
    for (const CgroupHierarchy& hierarchy : TRY(host_cgroup_hierarchies()))
        if (!hierarchy.own.empty()) folders.push_back(hierarchy.own);
    return CgroupMembership(std::move(folders));
}

Outcome<> CgroupMembership::enter() const { return enter_cgroups(folders_); }

}  // namespace kvmsbx::oci
