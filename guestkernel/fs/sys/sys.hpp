#pragma once
#include <cstdint>

#include "common/base/result.hpp"

namespace kvmsbx::fs {

// File system type "sysfs": the CPUs, one memory node, and no more than is true here.
Result<> register_sys();

// Type "cgroup2", and "cgroup", which gives the same: the one control group that the container is in. Its limits were
// set outside; here they can be read, not changed.
Result<> register_cgroup();
// How much CPU time the container may use, as cpu.max shows it: quota us in each period; quota 0: no limit.
void set_cgroup_cpu_limit(uint64_t quota, uint64_t period);

}  // namespace kvmsbx::fs
