// linux.resources of config.json, and the document of `update`.
#include <algorithm>

#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

constexpr uint64_t kMaxU32 = UINT32_MAX;

Outcome<std::optional<int64_t>> limit_or_none(const JsonNode& section, const char* key) {
    return section.signed_or_none(key, kUnlimited, INT64_MAX);
}

Outcome<MemoryResources> parse_memory(const JsonNode& resources) {
    MemoryResources memory;
    const std::optional<JsonNode> node = TRY(resources.find("memory"));
    if (!node) return memory;
    memory.limit = TRY(limit_or_none(*node, "limit"));
    if (memory.limit.value_or(0) > 0 && memory.limit.value() < static_cast<int64_t>(kMinMemoryLimit))
        return Failure{node->child_path("limit") + ": " + std::to_string(*memory.limit) + " bytes; at least " +
                       std::to_string(kMinMemoryLimit) + " are needed"};
    memory.reservation = TRY(limit_or_none(*node, "reservation"));
    memory.swap = TRY(limit_or_none(*node, "swap"));
    memory.kernel = TRY(limit_or_none(*node, "kernel"));
    memory.kernel_tcp = TRY(limit_or_none(*node, "kernelTCP"));
    memory.swappiness = TRY(node->unsigned_or_none("swappiness", 100));
    memory.disable_oom_killer = TRY(node->boolean_or("disableOOMKiller", false));
    memory.check_before_update = TRY(node->boolean_or("checkBeforeUpdate", false));
    return memory;
}

// What Linux takes for a bandwidth limit; 0 is "not given".
Outcome<> check_bandwidth(const JsonNode& node, const CpuResources& cpu) {
    constexpr uint64_t kMinPeriod = 1000, kMaxPeriod = 1'000'000;
    constexpr int64_t kMinQuota = 1000;
    const uint64_t period = cpu.period.value_or(0);
    if (period != 0 && (period < kMinPeriod || period > kMaxPeriod))
        return Failure{node.child_path("period") + ": expected 1000 to 1000000 microseconds, found " +
                       std::to_string(period)};
    const int64_t quota = cpu.quota.value_or(0);
    if (quota > 0 && quota < kMinQuota)
        return Failure{node.child_path("quota") + ": expected at least 1000 microseconds, found " +
                       std::to_string(quota)};
    return {};
}

Outcome<CpuResources> parse_cpu(const JsonNode& resources) {
    CpuResources cpu;
    const std::optional<JsonNode> node = TRY(resources.find("cpu"));
    if (!node) return cpu;
    cpu.shares = TRY(node->unsigned_or_none("shares", UINT64_MAX));
    cpu.quota = TRY(limit_or_none(*node, "quota"));
    cpu.period = TRY(node->unsigned_or_none("period", UINT64_MAX));
    cpu.burst = TRY(node->unsigned_or_none("burst", UINT64_MAX));
    cpu.realtime_runtime = TRY(limit_or_none(*node, "realtimeRuntime"));
    cpu.realtime_period = TRY(node->unsigned_or_none("realtimePeriod", UINT64_MAX));
    cpu.idle = TRY(node->signed_or_none("idle", 0, 1));
    cpu.cpus = TRY(node->string_or("cpus", "", kMaxPathBytes));
    cpu.mems = TRY(node->string_or("mems", "", kMaxPathBytes));
    TRY(check_bandwidth(*node, cpu));
    return cpu;
}

Outcome<std::optional<uint16_t>> weight_or_none(const JsonNode& node, const char* key) {
    const std::optional<uint64_t> weight = TRY(node.unsigned_or_none(key, 1000));
    if (!weight) return std::optional<uint16_t>{};
    if (*weight != 0 && *weight < 10)
        return Failure{node.child_path(key) + ": expected a weight from 10 to 1000, found " + std::to_string(*weight)};
    return std::optional<uint16_t>(static_cast<uint16_t>(*weight));
}

Outcome<BlockDevice> parse_block_device(const JsonNode& node) {
    const auto number = [&](const char* key) -> Outcome<uint32_t> {
        return static_cast<uint32_t>(
            TRY(TRY(node.require(key, "the number of the block device")).unsigned_number(kMaxU32)));
    };
    BlockDevice device;
    device.major = TRY(number("major"));
    device.minor = TRY(number("minor"));
    return device;
}

Outcome<std::vector<BlockThrottle>> parse_throttles(const JsonNode& block, const char* key) {
    std::vector<BlockThrottle> list;
    const std::optional<JsonNode> node = TRY(block.find(key));
    if (!node) return list;
    for (const JsonNode& entry : TRY(node->elements(kMaxListEntries))) {
        const BlockDevice device = TRY(parse_block_device(entry));
        const JsonNode rate = TRY(entry.require("rate", "the most in a second"));
        list.push_back({device, TRY(rate.unsigned_number(UINT64_MAX))});
    }
    return list;
}

Outcome<BlockResources> parse_block(const JsonNode& resources) {
    BlockResources block;
    const std::optional<JsonNode> node = TRY(resources.find("blockIO"));
    if (!node) return block;
    block.weight = TRY(weight_or_none(*node, "weight"));
    if (const std::optional<JsonNode> weights = TRY(node->find("weightDevice"))) {
        for (const JsonNode& entry : TRY(weights->elements(kMaxListEntries))) {
            const BlockDevice device = TRY(parse_block_device(entry));
            block.weight_devices.push_back({device, TRY(weight_or_none(entry, "weight"))});
        }
    }
    block.read_bytes = TRY(parse_throttles(*node, "throttleReadBpsDevice"));
    block.write_bytes = TRY(parse_throttles(*node, "throttleWriteBpsDevice"));
    block.read_operations = TRY(parse_throttles(*node, "throttleReadIOPSDevice"));
    block.write_operations = TRY(parse_throttles(*node, "throttleWriteIOPSDevice"));
    return block;
}

// "2MB": the name becomes part of a file's name.
Outcome<std::string> parse_page_size(const JsonNode& node) {
    const std::string text = TRY(node.string(16));
    const size_t digits = text.find_first_not_of("0123456789");
    const std::string unit = digits == std::string::npos || digits == 0 ? "" : text.substr(digits);
    if (unit == "KB" || unit == "MB" || unit == "GB") return text;
    return node.wrong("expected a size such as \"2MB\" or \"1GB\", found \"" + text + "\"");
}

Outcome<std::vector<HugepageLimit>> parse_hugepages(const JsonNode& resources) {
    std::vector<HugepageLimit> limits;
    const std::optional<JsonNode> node = TRY(resources.find("hugepageLimits"));
    if (!node) return limits;
    for (const JsonNode& entry : TRY(node->elements(64))) {
        HugepageLimit limit;
        limit.page_size = TRY(parse_page_size(TRY(entry.require("pageSize", "which huge pages it is for"))));
        limit.limit = TRY(TRY(entry.require("limit", "the most bytes")).unsigned_number(UINT64_MAX));
        limits.push_back(limit);
    }
    return limits;
}

Outcome<NetworkResources> parse_network(const JsonNode& resources) {
    NetworkResources network;
    const std::optional<JsonNode> node = TRY(resources.find("network"));
    if (!node) return network;
    if (const std::optional<uint64_t> id = TRY(node->unsigned_or_none("classID", kMaxU32)))
        network.class_id = static_cast<uint32_t>(*id);
    const std::optional<JsonNode> priorities = TRY(node->find("priorities"));
    if (!priorities) return network;
    for (const JsonNode& entry : TRY(priorities->elements(kMaxListEntries))) {
        const JsonNode name = TRY(entry.require("name", "which interface it is for"));
        NetworkPriority priority{TRY(name.string(15)), 0};  // IFNAMSIZ without the NUL
        if (priority.interface.find_first_of(" \n\t/") != std::string::npos || priority.interface.empty())
            return name.wrong("\"" + priority.interface + "\" is no name of an interface");
        const JsonNode number = TRY(entry.require("priority", "the priority of the interface"));
        priority.priority = static_cast<uint32_t>(TRY(number.unsigned_number(kMaxU32)));
        network.priorities.push_back(priority);
    }
    return network;
}

Outcome<DeviceRule> parse_device_rule(const JsonNode& node) {
    DeviceRule rule;
    rule.allow = TRY(TRY(node.require("allow", "whether the device may be used")).boolean());
    rule.type = TRY(node.string_or("type", "", 8));
    rule.major = TRY(node.signed_or_none("major", -1, INT64_MAX));
    rule.minor = TRY(node.signed_or_none("minor", -1, INT64_MAX));
    rule.access = TRY(node.string_or("access", "", 8));
    return rule;
}

Outcome<std::vector<DeviceRule>> parse_device_rules(const JsonNode& resources) {
    std::vector<DeviceRule> rules;
    const std::optional<JsonNode> node = TRY(resources.find("devices"));
    if (!node) return rules;
    for (const JsonNode& entry : TRY(node->elements(kMaxListEntries))) rules.push_back(TRY(parse_device_rule(entry)));
    return rules;
}

Outcome<std::optional<uint32_t>> count_or_none(const JsonNode& node, const char* key) {
    const std::optional<uint64_t> count = TRY(node.unsigned_or_none(key, kMaxU32));
    if (!count) return std::optional<uint32_t>{};
    return std::optional<uint32_t>(static_cast<uint32_t>(*count));
}

Outcome<std::vector<RdmaLimit>> parse_rdma(const JsonNode& resources) {
    std::vector<RdmaLimit> limits;
    const std::optional<JsonNode> node = TRY(resources.find("rdma"));
    if (!node) return limits;
    for (const auto& [device, entry] : TRY(node->entries(64))) {
        if (device.empty() || device.size() > 64 || device.find_first_of(" \n\t") != std::string::npos)
            return entry.wrong("no name of a device");
        RdmaLimit limit{device, {}, {}};
        limit.handles = TRY(count_or_none(entry, "hcaHandles"));
        limit.objects = TRY(count_or_none(entry, "hcaObjects"));
        limits.push_back(limit);
    }
    return limits;
}

// The names are file names of a cgroup: nothing may lead out of its folder.
Outcome<std::map<std::string, std::string>> parse_unified(const JsonNode& resources) {
    std::map<std::string, std::string> unified = TRY(parse_string_map(resources, "unified"));
    for (const auto& [name, value] : unified) {
        if (name.find('.') != std::string::npos && name.find('/') == std::string::npos && name[0] != '.') continue;
        return Failure{resources.child_path("unified") + "." + name +
                       ": no file of a cgroup; they look like \"memory.high\""};
    }
    return unified;
}

}  // namespace

Outcome<Resources> parse_resources(const JsonNode& node) {
    TRY(node.expect_object());
    Resources resources;
    resources.memory = TRY(parse_memory(node));
    resources.cpu = TRY(parse_cpu(node));
    if (const std::optional<JsonNode> pids = TRY(node.find("pids")))
        resources.pids = TRY(limit_or_none(*pids, "limit"));
    resources.block = TRY(parse_block(node));
    resources.hugepages = TRY(parse_hugepages(node));
    resources.network = TRY(parse_network(node));
    resources.devices = TRY(parse_device_rules(node));
    resources.rdma = TRY(parse_rdma(node));
    resources.unified = TRY(parse_unified(node));
    return resources;
}

}  // namespace kvmsbx::oci::parser

namespace kvmsbx::oci {

ResourceLimits limits_of(const Resources& resources) {
    constexpr uint64_t kDefaultPeriod = 100'000, kMostCpus = 1 << 16;
    const auto positive = [](std::optional<int64_t> value) {
        return static_cast<uint64_t>(std::max<int64_t>(value.value_or(0), 0));
    };
    ResourceLimits limits;
    limits.memory = positive(resources.memory.limit);
    limits.pids = positive(resources.pids);
    limits.cpu_shares = resources.cpu.shares.value_or(0);
    limits.cpu_period = resources.cpu.period.value_or(0);
    if (limits.cpu_period == 0) limits.cpu_period = kDefaultPeriod;
    limits.cpu_quota = std::min(positive(resources.cpu.quota), kMostCpus * limits.cpu_period);
    return limits;
}

}  // namespace kvmsbx::oci
