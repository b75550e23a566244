#pragma once
// The cgroup of a container: one folder in each hierarchy of the host, with all processes of its sandbox inside.
#include <sys/types.h>

#include <string>
#include <vector>

#include "oci/container/cgroup_hierarchy.hpp"
#include "oci/container/cgroup_limits.hpp"
#include "oci/container/cgroup_usage.hpp"
#include "oci/outcome.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

enum class Leftovers { kKeep, kKill };

struct CgroupRequest {
    std::string cgroups_path;  // of config.json; "": no cgroup of its own, unless limits ask for one: /kvmsbx/ID
    std::string id;
    const Resources* resources = nullptr;
    CgroupOverhead overhead;
};

class Cgroup {
  public:
    // Makes the folders and sets the limits. Nothing is left of what fails. A folder that holds processes already is
    // refused. Where the caller has no right to make cgroups: a failure if config.json has a cgroupsPath; else a cgroup
    // without folders, and a debug line.
    static Outcome<Cgroup> create(const CgroupRequest& request, Reporter& reporter);
    // The same with the given hierarchies in place of the host's.
    static Outcome<Cgroup> create_in(const std::vector<CgroupHierarchy>& hierarchies, const CgroupRequest& request,
                                     Reporter& reporter);
    // One that exists: what paths() gave.
    static Cgroup from_paths(std::vector<std::string> paths) { return Cgroup(std::move(paths)); }

    // The folders; none: the container has no cgroup of its own.
    const std::vector<std::string>& paths() const { return paths_; }

    // Moves the calling process into it.
    Outcome<> enter() const { return enter_cgroups(paths_); }
    // What is absent in `resources` stays. Lower a memory limit inside the sandbox first.
    Outcome<> update(const Resources& resources, const CgroupOverhead& overhead) const;
    // Removes the folders and those below; processes get two seconds to leave. kKill ends them.
    Outcome<> remove(Leftovers leftovers) const;

    std::vector<pid_t> processes() const;
    CgroupUsage usage() const { return read_cgroup_usage(paths_); }

  private:
    explicit Cgroup(std::vector<std::string> paths) : paths_(std::move(paths)) {}

    std::vector<std::string> paths_;
};

}  // namespace kvmsbx::oci
