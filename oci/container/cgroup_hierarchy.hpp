#pragma once
// The cgroup hierarchies of the host: one per controller (v1), one for all (v2), or both kinds (hybrid).
#include <string>
#include <string_view>
#include <vector>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

struct CgroupHierarchy {
    std::string name;   // "memory", "cpu,cpuacct", "name=systemd"; "" for v2
    bool unified;       // v2
    std::string mount;  // where it is mounted
    std::string own;    // the folder of the calling process; "" when it is not below the mount
};

// The mounted hierarchies, out of the texts of /proc/self/mountinfo and /proc/self/cgroup.
std::vector<CgroupHierarchy> parse_cgroup_hierarchies(std::string_view mountinfo, std::string_view own_cgroups);
Outcome<std::vector<CgroupHierarchy>> host_cgroup_hierarchies();

// The folder of a config.json's cgroupsPath in a hierarchy. An absolute path counts from the mount; a relative one from
// the caller's cgroup (v2: from its parent, since a cgroup with processes cannot have children with limits). ".." never
// leads out of there.
std::string cgroup_folder(const CgroupHierarchy& hierarchy, const std::string& cgroups_path);

// The cgroups that a process is in, to come back to.
class CgroupMembership {
  public:
    // Of the calling process.
    static Outcome<CgroupMembership> current();
    explicit CgroupMembership(std::vector<std::string> folders) : folders_(std::move(folders)) {}

    // Moves the calling process there.
    Outcome<> enter() const;
    const std::vector<std::string>& folders() const { return folders_; }

  private:
    std::vector<std::string> folders_;
};

// Moves the calling process into each of the folders.
Outcome<> enter_cgroups(const std::vector<std::string>& folders);

}  // namespace kvmsbx::oci
