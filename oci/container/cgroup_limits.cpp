#include "oci/container/cgroup_limits.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "oci/container/small_file.hpp"

namespace kvmsbx::oci {
namespace {

std::string number_or_max(int64_t value) { return value < 0 ? "max" : std::to_string(value); }

// "max" and what is no number are the largest number.
uint64_t to_number(const std::string& text) {
    uint64_t value = UINT64_MAX;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::string device_line(const BlockDevice& device, const std::string& value) {
    return std::to_string(device.major) + ":" + std::to_string(device.minor) + " " + value;
}

// The container's cgroup in all hierarchies as one set of files.
class CgroupFiles {
  public:
    explicit CgroupFiles(const std::vector<std::string>& folders) : folders_(folders) {}

    // "" when no hierarchy has the file.
    std::string find(const std::string& name) const {
        for (const std::string& folder : folders_)
            if (file_exists(folder + "/" + name)) return folder + "/" + name;
        return "";
    }
    bool has(const std::string& name) const { return !find(name).empty(); }
    uint64_t number(const std::string& name) const { return to_number(read_line_of(find(name))); }

    // Writes to the file of that name. `field` is below linux.resources, `controller` what Linux calls it.
    Outcome<> set(const char* field, const char* controller, const std::string& name, const std::string& value) const {
        const std::string path = find(name);
        if (path.empty()) return missing(field, controller, name);
        if (write_small_file(path, value)) return {};
        return refused(field, path, value);
    }
    static Failure missing(const char* field, const char* controller, const std::string& name) {
        return Failure{std::string("linux.resources.") + field + ": this host's cgroups have no " + name +
                       " (controller \"" + controller + "\"); mount and enable the controller, or remove the limit"};
    }
    static Failure refused(const char* field, const std::string& path, const std::string& value) {
        return errno_failure(std::string("linux.resources.") + field + ": writing " + value + " to " + path, errno);
    }

  private:
    const std::vector<std::string>& folders_;
};

// A file of which each version of cgroups has its own name.
struct Knob {
    const char* field;
    const char* controller;
    const char* v1;
    const char* v2;
};

Outcome<> set_knob(const CgroupFiles& files, const Knob& knob, const std::string& v1, const std::string& v2) {
    if (files.has(knob.v2)) return files.set(knob.field, knob.controller, knob.v2, v2);
    if (!files.has(knob.v1)) return files.missing(knob.field, knob.controller, std::string(knob.v1) + " or " + knob.v2);
    return files.set(knob.field, knob.controller, knob.v1, v1);
}

constexpr Knob kMemoryLimit{"memory.limit", "memory", "memory.limit_in_bytes", "memory.max"};
constexpr Knob kReservation{"memory.reservation", "memory", "memory.soft_limit_in_bytes", "memory.low"};

// Makes room for a limit below what is used now, as far as pages can be given back. cgroup v1 does that itself.
Outcome<> shrink(const CgroupFiles& files, const MemoryResources& memory, LimitsFor what) {
    if (what == LimitsFor::kNewCgroup || memory.limit.value_or(0) <= 0) return {};
    const auto limit = static_cast<uint64_t>(*memory.limit);
    const bool v2 = files.has(kMemoryLimit.v2);
    const auto used = [&] { return files.number(v2 ? "memory.current" : "memory.usage_in_bytes"); };
    if (!files.has(v2 ? "memory.current" : "memory.usage_in_bytes") || used() <= limit) return {};
    if (v2) write_small_file(files.find("memory.reclaim"), std::to_string(used() - limit));
    if (used() <= limit || (!v2 && !memory.check_before_update)) return {};
    return Failure{"linux.resources.memory.limit: " + std::to_string(limit) + " bytes are less than the " +
                   std::to_string(used()) + " that the sandbox uses now"};
}

Outcome<> apply_swap_v2(const CgroupFiles& files, const MemoryResources& memory) {
    const int64_t swap = memory.swap.value_or(0), limit = memory.limit.value_or(0);
    if (swap == 0 || !files.has("memory.swap.max")) return {};  // a kernel without swap keeps every such limit
    if (swap > 0 && limit <= 0)
        return Failure{"linux.resources.memory.swap: it counts memory and swap together; give memory.limit, too"};
    if (swap > 0 && swap < limit)
        return Failure{
            "linux.resources.memory.swap: it counts memory and swap together, so that it cannot be below "
            "memory.limit"};
    return files.set("memory.swap", "memory", "memory.swap.max", number_or_max(swap < 0 ? swap : swap - limit));
}

// The kernel keeps memory <= memory and swap at every moment: which one goes first depends on the direction.
Outcome<> apply_limit_v1(const CgroupFiles& files, const MemoryResources& memory) {
    constexpr const char* kBoth = "memory.memsw.limit_in_bytes";
    const int64_t swap = files.has(kBoth) ? memory.swap.value_or(0) : 0, limit = memory.limit.value_or(0);
    const auto set_limit = [&]() -> Outcome<> {
        return limit ? set_knob(files, kMemoryLimit, std::to_string(limit), "") : Outcome<>();
    };
    const auto set_both = [&]() -> Outcome<> {
        return swap ? files.set("memory.swap", "memory", kBoth, std::to_string(swap)) : Outcome<>();
    };
    const bool rises = swap < 0 || static_cast<uint64_t>(swap) > files.number(kBoth);
    if (rises) TRY(set_both());
    TRY(set_limit());
    return rises ? Outcome<>() : set_both();
}

Outcome<> apply_memory(const CgroupFiles& files, const MemoryResources& memory, LimitsFor what) {
    TRY(shrink(files, memory, what));
    if (files.has(kMemoryLimit.v2)) {
        if (memory.limit.value_or(0) != 0)
            TRY(files.set(kMemoryLimit.field, "memory", kMemoryLimit.v2, number_or_max(*memory.limit)));
        TRY(apply_swap_v2(files, memory));
    } else if (memory.limit.value_or(0) != 0 || memory.swap.value_or(0) != 0) {
        TRY(apply_limit_v1(files, memory));
    }
    if (memory.reservation.value_or(0) != 0)
        TRY(set_knob(files, kReservation, std::to_string(*memory.reservation), number_or_max(*memory.reservation)));
    // Version 2 has no swappiness of a cgroup's own; the sandbox's memory then swaps as the host's does.
    if (memory.swappiness && !files.has(kMemoryLimit.v2))
        TRY(files.set("memory.swappiness", "memory", "memory.swappiness", std::to_string(*memory.swappiness)));
    return {};
}

Outcome<> apply_cpu_weight(const CgroupFiles& files, const CpuResources& cpu) {
    const auto set_idle = [&]() -> Outcome<> {
        return files.set("cpu.idle", "cpu", "cpu.idle", std::to_string(*cpu.idle));
    };
    // An idle cgroup takes no shares.
    if (cpu.idle == 0 && files.has("cpu.idle")) TRY(set_idle());
    if (cpu.shares.value_or(0) != 0) {
        constexpr Knob kShares{"cpu.shares", "cpu", "cpu.shares", "cpu.weight"};
        TRY(set_knob(files, kShares, std::to_string(*cpu.shares), std::to_string(cpu_weight_of_shares(*cpu.shares))));
    }
    return cpu.idle == 1 ? set_idle() : Outcome<>();
}

Outcome<> apply_bandwidth_v1(const CgroupFiles& files, int64_t quota, uint64_t period) {
    // A new period may be refused with the old quota, or the new quota with the old period.
    constexpr const char *kPeriod = "cpu.cfs_period_us", *kQuota = "cpu.cfs_quota_us";
    Outcome<> first = period ? files.set("cpu.period", "cpu", kPeriod, std::to_string(period)) : Outcome<>();
    if (first.is_error() && quota == 0) return first;
    if (quota != 0) TRY(files.set("cpu.quota", "cpu", kQuota, std::to_string(quota)));
    return first.is_error() ? files.set("cpu.period", "cpu", kPeriod, std::to_string(period)) : Outcome<>();
}

Outcome<> apply_bandwidth_v2(const CgroupFiles& files, int64_t quota, uint64_t period) {
    const std::string now = read_line_of(files.find("cpu.max"));  // "max 100000"
    const size_t space = std::min(now.find(' '), now.size());
    const std::string old_period = space < now.size() ? now.substr(space + 1) : "100000";
    const std::string quota_text = quota ? number_or_max(quota) : now.substr(0, space);
    return files.set("cpu.quota", "cpu", "cpu.max", quota_text + " " + (period ? std::to_string(period) : old_period));
}

Outcome<> apply_bandwidth(const CgroupFiles& files, const CpuResources& cpu) {
    const int64_t quota = cpu.quota.value_or(0);
    const uint64_t period = cpu.period.value_or(0);
    constexpr Knob kBurst{"cpu.burst", "cpu", "cpu.cfs_burst_us", "cpu.max.burst"};
    if (quota != 0 || period != 0) {
        // A burst is at most the quota: take the old one away first.
        if (cpu.burst && files.has(files.has("cpu.max") ? kBurst.v2 : kBurst.v1))
            TRY(set_knob(files, kBurst, "0", "0"));
        TRY(files.has("cpu.max") ? apply_bandwidth_v2(files, quota, period) : apply_bandwidth_v1(files, quota, period));
    }
    if (!cpu.burst) return {};
    return set_knob(files, kBurst, std::to_string(*cpu.burst), std::to_string(*cpu.burst));
}

Outcome<> apply_cpu(const CgroupFiles& files, const CpuResources& cpu) {
    TRY(apply_cpu_weight(files, cpu));
    TRY(apply_bandwidth(files, cpu));
    if (cpu.realtime_period.value_or(0) != 0)
        TRY(files.set("cpu.realtimePeriod", "cpu", "cpu.rt_period_us", std::to_string(*cpu.realtime_period)));
    if (cpu.realtime_runtime.value_or(0) != 0)
        TRY(files.set("cpu.realtimeRuntime", "cpu", "cpu.rt_runtime_us", std::to_string(*cpu.realtime_runtime)));
    if (!cpu.cpus.empty()) TRY(files.set("cpu.cpus", "cpuset", "cpuset.cpus", cpu.cpus));
    if (!cpu.mems.empty()) TRY(files.set("cpu.mems", "cpuset", "cpuset.mems", cpu.mems));
    return {};
}

Outcome<> apply_pids(const CgroupFiles& files, std::optional<int64_t> pids, const CgroupOverhead& overhead) {
    if (pids.value_or(0) == 0) return {};
    const std::string text =
        *pids < 0 ? "max" : std::to_string(host_pids_limit(static_cast<uint64_t>(*pids), overhead));
    return files.set("pids.limit", "pids", "pids.max", text);
}

// Weights of 10 to 1000 become 1 to 10000 where io.weight has them.
uint64_t io_weight(uint16_t weight) { return 1 + (weight - uint64_t{10}) * 9999 / 990; }

Outcome<> apply_block_weights(const CgroupFiles& files, const BlockResources& block) {
    // The BFQ scheduler's files come first: where it is, it decides.
    if (block.weight.value_or(0) != 0) {
        const std::string plain = std::to_string(*block.weight);
        if (files.has("io.bfq.weight")) {
            TRY(files.set("blockIO.weight", "io", "io.bfq.weight", plain));
        } else if (files.has("io.weight")) {
            TRY(files.set("blockIO.weight", "io", "io.weight", std::to_string(io_weight(*block.weight))));
        } else {
            const bool bfq = files.has("blkio.bfq.weight");
            TRY(files.set("blockIO.weight", "blkio", bfq ? "blkio.bfq.weight" : "blkio.weight", plain));
        }
    }
    for (const BlockWeight& entry : block.weight_devices) {
        if (entry.weight.value_or(0) == 0) continue;
        const std::string line = device_line(entry.device, std::to_string(*entry.weight));
        if (files.has("io.bfq.weight")) {
            TRY(files.set("blockIO.weightDevice", "io", "io.bfq.weight", line));
        } else {
            const bool bfq = files.has("blkio.bfq.weight_device");
            TRY(files.set("blockIO.weightDevice", "blkio", bfq ? "blkio.bfq.weight_device" : "blkio.weight_device",
                          line));
        }
    }
    return {};
}

Outcome<> apply_block(const CgroupFiles& files, const BlockResources& block) {
    TRY(apply_block_weights(files, block));
    const struct {
        const std::vector<BlockThrottle>& list;
        const char *field, *v1, *v2;  // v2: the key in io.max
    } throttles[] = {
        {block.read_bytes, "blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps="},
        {block.write_bytes, "blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps="},
        {block.read_operations, "blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops="},
        {block.write_operations, "blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops="},
    };
    for (const auto& throttle : throttles) {
        for (const BlockThrottle& entry : throttle.list) {
            const std::string rate = std::to_string(entry.rate);
            if (files.has("io.max")) {
                const std::string value = entry.rate ? rate : "max";
                TRY(files.set(throttle.field, "io", "io.max", device_line(entry.device, throttle.v2 + value)));
            } else {
                TRY(files.set(throttle.field, "blkio", throttle.v1, device_line(entry.device, rate)));
            }
        }
    }
    return {};
}

Outcome<> apply_hugepages(const CgroupFiles& files, const std::vector<HugepageLimit>& limits) {
    for (const HugepageLimit& limit : limits) {
        const std::string prefix = "hugetlb." + limit.page_size, value = std::to_string(limit.limit);
        const bool v2 = files.has(prefix + ".max");
        TRY(files.set("hugepageLimits", "hugetlb", prefix + (v2 ? ".max" : ".limit_in_bytes"), value));
        const std::string reserved = prefix + (v2 ? ".rsvd.max" : ".rsvd.limit_in_bytes");
        if (files.has(reserved)) TRY(files.set("hugepageLimits", "hugetlb", reserved, value));
    }
    return {};
}

Outcome<> apply_network(const CgroupFiles& files, const NetworkResources& network) {
    if (network.class_id.value_or(0) != 0)
        TRY(files.set("network.classID", "net_cls", "net_cls.classid", std::to_string(*network.class_id)));
    for (const NetworkPriority& entry : network.priorities)
        TRY(files.set("network.priorities", "net_prio", "net_prio.ifpriomap",
                      entry.interface + " " + std::to_string(entry.priority)));
    return {};
}

Outcome<> apply_rdma(const CgroupFiles& files, const std::vector<RdmaLimit>& limits) {
    for (const RdmaLimit& limit : limits) {
        std::string line = limit.device;
        if (limit.handles) line += " hca_handle=" + std::to_string(*limit.handles);
        if (limit.objects) line += " hca_object=" + std::to_string(*limit.objects);
        TRY(files.set("rdma", "rdma", "rdma.max", line));
    }
    return {};
}

Outcome<> apply_unified(const CgroupFiles& files, const std::map<std::string, std::string>& unified) {
    for (const auto& [name, value] : unified) {
        const std::string controller = name.substr(0, name.find('.')), field = "unified." + name;
        TRY(files.set(field.c_str(), controller.c_str(), name, value));
    }
    return {};
}

}  // namespace

CgroupOverhead sandbox_overhead(SandboxPlatform platform, unsigned cpus) {
    return {64 + uint64_t{cpus}, platform == SandboxPlatform::kProcess ? uint64_t{3} : uint64_t{2}};
}

uint64_t sentry_memory_limit(uint64_t limit, SandboxPlatform platform) {
    constexpr uint64_t kMiB = 1 << 20;
    const bool kvm = platform == SandboxPlatform::kKvm;
    const uint64_t held_back = kvm ? 16 * kMiB + limit / 32 : 12 * kMiB + limit / 16;
    return limit - std::min(held_back, limit / 2);
}

uint64_t least_memory_limit(SandboxPlatform platform) {
    constexpr uint64_t kMiB = 1 << 20;
    return (platform == SandboxPlatform::kKvm ? 24 : 16) * kMiB;
}

uint64_t host_pids_limit(uint64_t pids, const CgroupOverhead& overhead) {
    constexpr uint64_t kMost = 1 << 22;  // PID_MAX_LIMIT
    return std::min(kMost, std::min(pids, kMost) * overhead.threads_per_task + overhead.threads);
}

uint64_t cpu_weight_of_shares(uint64_t shares) {
    const uint64_t bounded = std::clamp<uint64_t>(shares, 2, 262144);
    return 1 + (bounded - 2) * 9999 / 262142;
}

Outcome<> apply_limits(const std::vector<std::string>& folders, const Resources& resources,
                       const CgroupOverhead& overhead, LimitsFor what) {
    const CgroupFiles files(folders);
    TRY(apply_memory(files, resources.memory, what));
    TRY(apply_cpu(files, resources.cpu));
    TRY(apply_pids(files, resources.pids, overhead));
    TRY(apply_block(files, resources.block));
    TRY(apply_hugepages(files, resources.hugepages));
    TRY(apply_network(files, resources.network));
    TRY(apply_rdma(files, resources.rdma));
    return apply_unified(files, resources.unified);
}

bool needs_cgroup(const Resources& resources) {
    const auto given = [](const auto& value) { return value && *value != 0; };
    const MemoryResources& memory = resources.memory;
    const CpuResources& cpu = resources.cpu;
    const BlockResources& block = resources.block;
    return given(memory.limit) || given(memory.reservation) || given(memory.swap) || given(cpu.shares) ||
           given(cpu.quota) || given(cpu.burst) || given(cpu.realtime_runtime) || given(cpu.idle) ||
           !cpu.cpus.empty() || !cpu.mems.empty() || given(resources.pids) || given(block.weight) ||
           !block.weight_devices.empty() || !block.read_bytes.empty() || !block.write_bytes.empty() ||
           !block.read_operations.empty() || !block.write_operations.empty() || !resources.hugepages.empty() ||
           given(resources.network.class_id) || !resources.network.priorities.empty() || !resources.rdma.empty() ||
           !resources.unified.empty();
}

}  // namespace kvmsbx::oci
