#pragma once
#include <cstdint>

#include "common/base/result.hpp"

namespace kvmsbx::fs {

// File system type "sysfs": the CPUs, one memory node, and no more than is true here.
Result<> register_sys();

// Type "cgroup2", and "cgroup", which gives the same: the one control group that the container is in. Its limits were
// set outside; here they can be read, not changed.
Result<> register_cgroup();
// What cpu.weight shows, by cgroup v1's cpu.shares; 0: the default. One container is alone in its sandbox: the host
// weighs sandboxes.
void set_cpu_shares(uint64_t shares);

}  // namespace kvmsbx::fs
