// linux.resources of config.json: what is applied of it. spec_unapplied.cpp names the rest.
#include <algorithm>

#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

// A limit that is a number; absent or -1: none, as 0.
Outcome<uint64_t> limit_or_none(const JsonNode& section, const char* key) {
    const std::optional<JsonNode> node = TRY(section.find(key));
    if (!node || node->value() == -1) return uint64_t{0};
    return node->unsigned_number(INT64_MAX);
}

Outcome<> parse_memory(const JsonNode& resources, ResourceLimits& limits) {
    const std::optional<JsonNode> memory = TRY(resources.find("memory"));
    if (!memory) return {};
    limits.memory = TRY(limit_or_none(*memory, "limit"));
    if (limits.memory != 0 && limits.memory < kMinMemoryLimit)
        return Failure{memory->child_path("limit") + ": " + std::to_string(limits.memory) + " bytes; at least " +
                       std::to_string(kMinMemoryLimit) + " are needed"};
    return {};
}

Outcome<> parse_cpu(const JsonNode& resources, ResourceLimits& limits) {
    constexpr uint64_t kDefaultPeriod = 100'000, kMinPeriod = 1000, kMaxPeriod = 1'000'000, kMinQuota = 1000;
    const std::optional<JsonNode> cpu = TRY(resources.find("cpu"));
    if (!cpu) return {};
    limits.cpu_quota = TRY(limit_or_none(*cpu, "quota"));
    limits.cpu_period = TRY(limit_or_none(*cpu, "period"));
    if (limits.cpu_period == 0) limits.cpu_period = kDefaultPeriod;
    if (limits.cpu_period < kMinPeriod || limits.cpu_period > kMaxPeriod)
        return Failure{cpu->child_path("period") + ": expected 1000 to 1000000 microseconds, found " +
                       std::to_string(limits.cpu_period)};
    if (limits.cpu_quota != 0 && limits.cpu_quota < kMinQuota)
        return Failure{cpu->child_path("quota") + ": expected at least 1000 microseconds, found " +
                       std::to_string(limits.cpu_quota)};
    constexpr uint64_t kMostCpus = 1 << 16;
    limits.cpu_quota = std::min(limits.cpu_quota, kMostCpus * limits.cpu_period);
    return {};
}

}  // namespace

Outcome<ResourceLimits> parse_resources(const JsonNode& linux_section) {
    ResourceLimits limits;
    const std::optional<JsonNode> resources = TRY(linux_section.find("resources"));
    if (!resources) return limits;
    TRY(parse_memory(*resources, limits));
    TRY(parse_cpu(*resources, limits));
    return limits;
}

}  // namespace kvmsbx::oci::parser
