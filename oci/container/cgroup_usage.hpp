#pragma once
// What a cgroup has used, for `events --stats`.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace kvmsbx::oci {

struct CgroupUsage {
    uint64_t cpu_ns = 0, cpu_user_ns = 0, cpu_system_ns = 0;
    std::vector<uint64_t> cpu_each_ns;  // of each CPU of the host; cgroup v1 only
    uint64_t throttled_periods = 0, periods = 0, throttled_ns = 0;
    uint64_t memory = 0, memory_peak = 0, memory_limit = 0, memory_failures = 0;  // bytes; limit UINT64_MAX: none
    uint64_t swap = 0, swap_limit = 0;                                            // v1: memory and swap together
    std::map<std::string, uint64_t> memory_details;                               // memory.stat
    uint64_t pids = 0, pids_limit = 0;                                            // limit 0: none
};

// Zero where the host does not count.
CgroupUsage read_cgroup_usage(const std::vector<std::string>& folders);

}  // namespace kvmsbx::oci
