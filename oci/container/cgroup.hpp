#pragma once
// The cgroup of a container: one folder in each hierarchy of the host, with all processes of its sandbox inside.
#include <sys/types.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "oci/container/cgroup_hierarchy.hpp"
#include "oci/container/cgroup_limits.hpp"
#include "oci/container/cgroup_usage.hpp"
#include "oci/outcome.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

enum class Leftovers { kKeep, kKill };
enum class CgroupManager { kCgroupfs, kSystemd };

struct CgroupRequest {
    std::string cgroups_path;  // of config.json; "": no cgroup of its own, unless limits ask for one: /kvmsbx/ID, or
                               // with systemd kvmsbx-ID.scope
    std::string id;
    const Resources* resources = nullptr;
    CgroupOverhead overhead;
    CgroupManager manager = CgroupManager::kCgroupfs;
};

class Cgroup {
  public:
    // Makes the folders and sets the limits. systemd moves the calling process into its scope at once, since there is no
    // scope without a process; a failure brings it back. Nothing is left of what fails. A folder that holds processes already is
    // refused. Where the caller has no right to make cgroups: a failure if config.json has a cgroupsPath; else a cgroup
    // without folders, and a debug line.
    static Outcome<Cgroup> create(const CgroupRequest& request, Reporter& reporter);
    // The same with the given hierarchies in place of the host's; by cgroupfs.
    static Outcome<Cgroup> create_in(const std::vector<CgroupHierarchy>& hierarchies, const CgroupRequest& request,
                                     Reporter& reporter);
    // One that exists: what paths() and systemd_unit() gave.
    static Cgroup from_paths(std::vector<std::string> paths, std::string systemd_unit = "") {
        return Cgroup(std::move(paths), std::move(systemd_unit));
    }

    // The folders; none: the container has no cgroup of its own.
    const std::vector<std::string>& paths() const { return paths_; }
    // "docker-abc.scope"; "": cgroupfs made it.
    const std::string& systemd_unit() const { return unit_; }

    // Moves the calling process into it.
    Outcome<> enter() const { return enter_cgroups(paths_); }
    // What is absent in `resources` stays. Lower a memory limit inside the sandbox first.
    Outcome<> update(const Resources& resources, const CgroupOverhead& overhead) const;
    // Removes the folders and those below; processes get two seconds to leave. kKill ends them, but for the caller.
    Outcome<> remove(Leftovers leftovers) const;

    std::vector<pid_t> processes() const;
    CgroupUsage usage() const { return read_cgroup_usage(paths_); }

  private:
    explicit Cgroup(std::vector<std::string> paths, std::string unit = "")
        : paths_(std::move(paths)), unit_(std::move(unit)) {}
    static Outcome<Cgroup> create_scope(const CgroupRequest& request);

    std::vector<std::string> paths_;
    std::string unit_;
};

}  // namespace kvmsbx::oci
