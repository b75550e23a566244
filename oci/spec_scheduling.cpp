// What process says about scheduling: scheduler, ioPriority, execCPUAffinity, oomScoreAdj.
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

struct Policy {
    std::string_view name;
    uint32_t number;
};
constexpr Policy kPolicies[] = {
    {"SCHED_OTHER", SCHED_OTHER}, {"SCHED_FIFO", SCHED_FIFO}, {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH}, {"SCHED_IDLE", SCHED_IDLE},
};

Outcome<uint32_t> parse_policy(const JsonNode& node) {
    const std::string name = TRY(node.string(64));
    const auto* found =
        std::find_if(std::begin(kPolicies), std::end(kPolicies), [&](const Policy& p) { return p.name == name; });
    if (found != std::end(kPolicies)) return found->number;
    return node.wrong("\"" + name +
                      "\" is not supported; use SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH or "
                      "SCHED_IDLE");
}

// Flags beyond reset-on-fork steer SCHED_DEADLINE or clamp utilisation, which the sandbox does not have.
Outcome<bool> parse_flags(const JsonNode& scheduler) {
    bool reset_on_fork = false;
    const std::optional<JsonNode> flags = TRY(scheduler.find("flags"));
    if (!flags) return false;
    for (const JsonNode& flag : TRY(flags->elements(16))) {
        const std::string name = TRY(flag.string(64));
        if (name != "SCHED_FLAG_RESET_ON_FORK")
            return flag.wrong("\"" + name + "\" is not supported; only SCHED_FLAG_RESET_ON_FORK is");
        reset_on_fork = true;
    }
    return reset_on_fork;
}

Outcome<std::optional<SchedulerSpec>> parse_scheduler(const JsonNode& process) {
    const std::optional<JsonNode> node = TRY(process.find("scheduler"));
    if (!node) return std::optional<SchedulerSpec>{};
    SchedulerSpec scheduler;
    scheduler.policy = TRY(parse_policy(TRY(node->require("policy", "the scheduling policy (\"SCHED_OTHER\")"))));
    scheduler.nice = static_cast<int32_t>(TRY(node->signed_or_none("nice", -20, 19)).value_or(0));
    scheduler.priority = static_cast<uint32_t>(TRY(node->signed_or_none("priority", 0, 99)).value_or(0));
    scheduler.reset_on_fork = TRY(parse_flags(*node));
    const bool realtime = scheduler.policy == SCHED_FIFO || scheduler.policy == SCHED_RR;
    if (realtime != (scheduler.priority != 0))
        return Failure{node->child_path("priority") + ": " + std::to_string(scheduler.priority) +
                       " does not go with the policy; SCHED_FIFO and SCHED_RR take 1 to 99, the others 0"};
    return std::optional<SchedulerSpec>(scheduler);
}

Outcome<std::optional<uint16_t>> parse_io_priority(const JsonNode& process) {
    const std::optional<JsonNode> node = TRY(process.find("ioPriority"));
    if (!node) return std::optional<uint16_t>{};
    constexpr std::string_view kClasses[] = {"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"};  // from 1
    const JsonNode name = TRY(node->require("class", "the I/O class (\"IOPRIO_CLASS_BE\")"));
    const std::string text = TRY(name.string(64));
    const auto* found = std::find(std::begin(kClasses), std::end(kClasses), text);
    if (found == std::end(kClasses))
        return name.wrong("\"" + text +
                          "\" is no I/O class; use IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or "
                          "IOPRIO_CLASS_IDLE");
    const auto level = static_cast<unsigned>(TRY(node->signed_or_none("priority", 0, 7)).value_or(0));
    constexpr unsigned kClassShift = 13;
    const auto number = static_cast<unsigned>(found - std::begin(kClasses)) + 1;
    return std::optional<uint16_t>(static_cast<uint16_t>(number << kClassShift | level));
}

// "0-3,7" as bits; CPUs from 64 on are left out, since a sandbox has 64 at most.
bool parse_cpu_list(std::string_view text, uint64_t& mask) {
    while (!text.empty()) {
        const std::string_view part = text.substr(0, text.find(','));
        unsigned first = 0;
        const char* end = part.data() + part.size();
        auto [rest, error] = std::from_chars(part.data(), end, first);
        unsigned last = first;
        if (error == std::errc{} && rest != end && *rest == '-') {
            const auto range = std::from_chars(rest + 1, end, last);
            rest = range.ptr;
            error = range.ec;
        }
        if (error != std::errc{} || rest != end || last < first) return false;
        for (unsigned cpu = first; cpu <= last && cpu < 64; ++cpu) mask |= uint64_t{1} << cpu;
        if (part.size() == text.size()) return true;
        text.remove_prefix(part.size() + 1);
        if (text.empty()) return false;
    }
    return false;
}

Outcome<uint64_t> parse_affinity(const JsonNode& affinity, const char* key) {
    const std::optional<JsonNode> node = TRY(affinity.find(key));
    if (!node) return uint64_t{0};
    const std::string text = TRY(node->string(4096));
    if (text.empty()) return uint64_t{0};
    uint64_t mask = 0;
    if (!parse_cpu_list(text, mask))
        return node->wrong("expected a list of CPUs (\"0-3,7\"), found \"" + text.substr(0, 80) + "\"");
    if (mask == 0) return node->wrong("none of these CPUs is in the sandbox, which has 64 at most");
    return mask;
}

}  // namespace

Outcome<> parse_scheduling(const JsonNode& node, ProcessSpec& process) {
    process.scheduler = TRY(parse_scheduler(node));
    process.io_priority = TRY(parse_io_priority(node));
    if (const std::optional<int64_t> score = TRY(node.signed_or_none("oomScoreAdj", -1000, 1000)))
        process.oom_score_adj = static_cast<int32_t>(*score);
    const std::optional<JsonNode> affinity = TRY(node.find("execCPUAffinity"));
    if (!affinity) return {};
    process.affinity.initial = TRY(parse_affinity(*affinity, "initial"));
    process.affinity.final = TRY(parse_affinity(*affinity, "final"));
    return {};
}

}  // namespace kvmsbx::oci::parser
