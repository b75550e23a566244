// events: what a container uses, as runc prints it.
#include <poll.h>

#include <nlohmann/json.hpp>

#include "oci/container/access.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci {
namespace {

using nlohmann::ordered_json;

// `limit` 0: none, for which runc shows the largest number that a control group of version 1 takes.
ordered_json limit_json(uint64_t limit) {
    constexpr uint64_t kNone = 0x7ffffffffffff000;
    return limit ? limit : kNone;
}

std::string stats_line(const std::string& id, const control::Usage& usage) {
    const uint64_t total = usage.cpu_user_ns + usage.cpu_system_ns;
    const ordered_json cpu{{"usage", {{"total", total}, {"kernel", usage.cpu_system_ns}, {"user", usage.cpu_user_ns}}},
                           {"throttling",
                            {{"periods", usage.cpu_periods},
                             {"throttledPeriods", usage.cpu_throttled_periods},
                             {"throttledTime", usage.cpu_throttled_ns}}}};
    const ordered_json memory{{"cache", usage.memory_cache},
                              {"usage",
                               {{"limit", limit_json(usage.memory_limit)},
                                {"usage", usage.memory},
                                {"max", usage.memory_peak},
                                {"failcnt", usage.memory_failures}}},
                              {"raw",
                               {{"cache", usage.memory_cache},
                                {"oom_kill", usage.oom_kills},
                                {"pgfault", usage.minor_faults + usage.major_faults},
                                {"pgmajfault", usage.major_faults}}}};
    const ordered_json pids{{"current", usage.pids}, {"limit", usage.pids_limit}};
    const ordered_json event{
        {"type", "stats"}, {"id", id}, {"data", {{"cpu", cpu}, {"memory", memory}, {"pids", pids}}}};
    return event.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string oom_line(const std::string& id) { return ordered_json{{"type", "oom"}, {"id", id}}.dump() + "\n"; }

// False: the monitor hung up, the container has ended.
bool wait_while_it_runs(const ControlConnection& monitor, unsigned interval_ms) {
    pollfd polled{monitor.fd(), POLLIN, 0};
    return poll(&polled, 1, static_cast<int>(interval_ms)) == 0;
}

Outcome<> show_events(const std::string& root, const std::string& id, const EventsOptions& options) {
    const Container container = TRY(find_container(root, id));
    ControlConnection monitor = TRY(connect(container));
    uint64_t oom_kills = 0;
    for (bool first = true;; first = false) {
        Outcome<Frame> answer = ask(monitor, control::Stats{});
        if (answer.is_error() && !first) return {};
        if (answer.is_error()) return answer.error();
        const control::Usage usage = TRY(answer_as<control::Usage>(answer.value()));
        if (!first && usage.oom_kills > oom_kills) TRY(print(oom_line(id)));
        oom_kills = usage.oom_kills;
        TRY(print(stats_line(id, usage)));
        if (options.stats_once || !wait_while_it_runs(monitor, options.interval_ms)) return {};
    }
}

}  // namespace

int print_events(const std::string& root, const std::string& id, const EventsOptions& options, Reporter& reporter) {
    return finish(show_events(root, id, options), reporter);
}

}  // namespace kvmsbx::oci
