#include "oci/container/cgroup_usage.hpp"

#include <charconv>
#include <sstream>

#include "oci/container/small_file.hpp"

namespace kvmsbx::oci {
namespace {

std::string text_of(const std::vector<std::string>& folders, const std::string& name) {
    std::string text;
    for (const std::string& folder : folders)
        if (read_small_file(folder + "/" + name, text)) return text;
    return "";
}

uint64_t number_of(const std::vector<std::string>& folders, const std::string& name, uint64_t fallback = 0) {
    const std::string text = text_of(folders, name);
    uint64_t value = fallback;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// "name number" lines.
std::map<std::string, uint64_t> table_of(const std::vector<std::string>& folders, const std::string& name) {
    std::map<std::string, uint64_t> table;
    std::istringstream lines(text_of(folders, name));
    std::string key;
    uint64_t value = 0;
    while (lines >> key >> value) table[key] = value;
    return table;
}

uint64_t value_of(const std::map<std::string, uint64_t>& table, const char* key) {
    const auto found = table.find(key);
    return found == table.end() ? 0 : found->second;
}

void read_cpu(const std::vector<std::string>& folders, CgroupUsage& usage) {
    constexpr uint64_t kMicrosecond = 1000, kTick = 10'000'000;  // USER_HZ is 100
    const std::map<std::string, uint64_t> stat = table_of(folders, "cpu.stat");
    const std::map<std::string, uint64_t> ticks = table_of(folders, "cpuacct.stat");
    usage.periods = value_of(stat, "nr_periods");
    usage.throttled_periods = value_of(stat, "nr_throttled");
    if (!ticks.empty()) {
        usage.throttled_ns = value_of(stat, "throttled_time");
        usage.cpu_ns = number_of(folders, "cpuacct.usage");
        usage.cpu_user_ns = value_of(ticks, "user") * kTick;
        usage.cpu_system_ns = value_of(ticks, "system") * kTick;
        std::istringstream each(text_of(folders, "cpuacct.usage_percpu"));
        for (uint64_t value = 0; each >> value;) usage.cpu_each_ns.push_back(value);
        return;
    }
    usage.throttled_ns = value_of(stat, "throttled_usec") * kMicrosecond;
    usage.cpu_ns = value_of(stat, "usage_usec") * kMicrosecond;
    usage.cpu_user_ns = value_of(stat, "user_usec") * kMicrosecond;
    usage.cpu_system_ns = value_of(stat, "system_usec") * kMicrosecond;
}

void read_memory(const std::vector<std::string>& folders, CgroupUsage& usage) {
    usage.memory_details = table_of(folders, "memory.stat");
    if (!text_of(folders, "memory.usage_in_bytes").empty()) {
        usage.memory = number_of(folders, "memory.usage_in_bytes");
        usage.memory_peak = number_of(folders, "memory.max_usage_in_bytes");
        usage.memory_limit = number_of(folders, "memory.limit_in_bytes", UINT64_MAX);
        usage.memory_failures = number_of(folders, "memory.failcnt");
        usage.swap = number_of(folders, "memory.memsw.usage_in_bytes");
        usage.swap_limit = number_of(folders, "memory.memsw.limit_in_bytes", UINT64_MAX);
        return;
    }
    usage.memory = number_of(folders, "memory.current");
    usage.memory_peak = number_of(folders, "memory.peak");
    usage.memory_limit = number_of(folders, "memory.max", UINT64_MAX);
    usage.memory_failures = value_of(table_of(folders, "memory.events"), "max");
    usage.swap = number_of(folders, "memory.swap.current");
    usage.swap_limit = number_of(folders, "memory.swap.max", UINT64_MAX);
}

}  // namespace

CgroupUsage read_cgroup_usage(const std::vector<std::string>& folders) {
    CgroupUsage usage;
    read_cpu(folders, usage);
    read_memory(folders, usage);
    usage.pids = number_of(folders, "pids.current");
    usage.pids_limit = number_of(folders, "pids.max");
    return usage;
}

}  // namespace kvmsbx::oci
