#pragma once
#include <cstdint>

#include "common/base/result.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::fs {

// File system type "sysfs": the CPUs, one memory node, and no more than is true here.
Result<> register_sys();

// Type "cgroup2", and "cgroup", which gives the same: the one control group that the container is in. Its limits were
// set outside; here they can be read, not changed.
Result<> register_cgroup();
// What the control group has used and has now. Bytes; memory_limit 0: none.
struct GroupUsage {
    task::CpuUsage cpu;
    uint64_t memory = 0, memory_peak = 0, memory_limit = 0, file_memory = 0, memory_failures = 0;
    uint64_t threads = 0;
};
GroupUsage group_usage();
// What cpu.weight shows, by cgroup v1's cpu.shares; 0: the default. One container is alone in its sandbox: the host
// weighs sandboxes.
void set_cpu_shares(uint64_t shares);

}  // namespace kvmsbx::fs
