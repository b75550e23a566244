#pragma once
// Writes linux.resources into the files of a cgroup. Which version of cgroups a controller has is seen from the names of
// its files, so that hybrid hosts need no cases of their own.
//
// The host's limits are for the processes of the sandbox, and are the outer bound; what the application sees and is
// held to is the Sentry's business:
// * memory: the host's limit is the number given. The Sentry gets less (sentry_memory_limit), so that it kills an
//   application that goes beyond, before the host kills the sandbox.
// * pids: an application's thread costs the host more than one, so the host's limit is larger (host_pids_limit).
// * CPU, block devices, huge pages, network classes: as given.
// * devices: met, since a sandbox has no device of the host.
#include <cstdint>
#include <string>
#include <vector>

#include "oci/outcome.hpp"
#include "oci/resources.hpp"

namespace kvmsbx::oci {

enum class SandboxPlatform : uint8_t { kKvm, kProcess };

// What the sandbox needs of the host beyond its application.
struct CgroupOverhead {
    uint64_t threads = 64;          // of monitor, gofer, vCPUs and those that wait for execs
    uint64_t threads_per_task = 2;  // for each of the application's
};

// On the process platform an application's thread is a thread of a stub process, and each address space a process more.
CgroupOverhead sandbox_overhead(SandboxPlatform platform, unsigned cpus);

uint64_t host_pids_limit(uint64_t pids, const CgroupOverhead& overhead);

// The Sentry's share of a memory limit of the host, both in bytes; 0 (no limit) stays 0. Measured are 8 MiB for the
// processes beside it (kvm: 11 MiB) and 0.4 % (kvm: 1.1 %) for page tables, on the process platform 160 KiB for each
// process of the application, too. What is held back is 12 MiB and a sixteenth (kvm: 16 MiB and a thirty-second), but
// never more than half.
uint64_t sentry_memory_limit(uint64_t limit, SandboxPlatform platform);
// Below that the host would kill the sandbox while it starts.
uint64_t least_memory_limit(SandboxPlatform platform);

// cpu.weight of version 2: shares of 2 to 262144 become 1 to 10000, the default 1024 becomes 39.
uint64_t cpu_weight_of_shares(uint64_t shares);

enum class LimitsFor { kNewCgroup, kRunningContainer };

// `folders` are the container's cgroup in each hierarchy. A limit that was asked for and has no file there is a failure
// that names field and controller; so is one that the kernel refuses.
Outcome<> apply_limits(const std::vector<std::string>& folders, const Resources& resources,
                       const CgroupOverhead& overhead, LimitsFor what);

// Whether there is a limit in it that only a cgroup of the container's own can keep.
bool needs_cgroup(const Resources& resources);

}  // namespace kvmsbx::oci
