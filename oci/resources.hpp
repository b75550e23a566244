#pragma once
// linux.resources of config.json, and the document of `update --resources`, as plain data. What the file does not give
// is absent; engines give 0 for "leave it", and -1 for "no limit", where the specification has signed numbers.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kvmsbx::oci {

inline constexpr int64_t kUnlimited = -1;

struct MemoryResources {
    std::optional<int64_t> limit, reservation, swap;  // bytes; swap is memory and swap together, as in cgroup v1
    std::optional<int64_t> kernel, kernel_tcp;        // deprecated, not applied
    std::optional<uint64_t> swappiness;               // 0 to 100
    bool disable_oom_killer = false;                  // not applied
    bool check_before_update = false;                 // a limit below the use is refused
};

struct CpuResources {
    std::optional<uint64_t> shares, burst, period;  // burst and period in microseconds
    std::optional<int64_t> quota;                   // microseconds of CPU time in each period
    std::optional<int64_t> realtime_runtime;        // microseconds
    std::optional<uint64_t> realtime_period;        // microseconds
    std::optional<int64_t> idle;                    // 1: SCHED_IDLE
    std::string cpus, mems;                         // lists such as "0-3,7"
};

struct BlockDevice {
    uint32_t major = 0, minor = 0;
};

struct BlockWeight {
    BlockDevice device;
    std::optional<uint16_t> weight;
};

struct BlockThrottle {
    BlockDevice device;
    uint64_t rate = 0;  // a second
};

struct BlockResources {
    std::optional<uint16_t> weight;  // 10 to 1000
    std::vector<BlockWeight> weight_devices;
    std::vector<BlockThrottle> read_bytes, write_bytes, read_operations, write_operations;
};

struct HugepageLimit {
    std::string page_size;  // "2MB"
    uint64_t limit = 0;     // bytes
};

struct NetworkPriority {
    std::string interface;
    uint32_t priority = 0;
};

struct NetworkResources {
    std::optional<uint32_t> class_id;
    std::vector<NetworkPriority> priorities;
};

// Which devices of the host may be used. A sandbox has no host device, so each rule is met.
struct DeviceRule {
    bool allow = false;
    std::string type;  // "a", "b", "c" or ""
    std::optional<int64_t> major, minor;
    std::string access;  // of "rwm"
};

struct RdmaLimit {
    std::string device;
    std::optional<uint32_t> handles, objects;
};

struct Resources {
    MemoryResources memory;
    CpuResources cpu;
    std::optional<int64_t> pids;
    BlockResources block;
    std::vector<HugepageLimit> hugepages;
    NetworkResources network;
    std::vector<DeviceRule> devices;
    std::vector<RdmaLimit> rdma;
    std::map<std::string, std::string> unified;  // cgroup v2: file name -> what is written to it
};

}  // namespace kvmsbx::oci
