// state, list, ps, events, debug.
#include <memory>

#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci::cli {
namespace {

struct QueryOptions {
    std::string id, format = "table";
    bool quiet = false, stats = false, stacks = false;
    std::vector<std::string> ignored;

    Format chosen() const { return quiet ? Format::kIds : format == "json" ? Format::kJson : Format::kTable; }
};

void add_format(CLI::App* verb, QueryOptions& options) {
    verb->add_option("-f,--format", options.format, "table or json")
        ->check(CLI::IsMember({"table", "json"}))
        ->capture_default_str();
}

void add_state(const Verbs& verbs) {
    CLI::App* verb = verbs.add("state", kQueryGroup, "Print a container's state as JSON");
    auto options = std::make_shared<QueryOptions>();
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return print_state(global.sandbox.root(), options->id, reporter);
        };
    });
}

void add_list(const Verbs& verbs) {
    CLI::App* verb = verbs.add("list", kQueryGroup, "List the containers");
    auto options = std::make_shared<QueryOptions>();
    add_format(verb, *options);
    verb->add_flag("-q,--quiet", options->quiet, "IDs only");
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return list_containers(global.sandbox.root(), options->chosen(), reporter);
        };
    });
}

void add_ps(const Verbs& verbs) {
    CLI::App* verb = verbs.add("ps", kQueryGroup, "Show the processes of a container");
    auto options = std::make_shared<QueryOptions>();
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_option("ps-options", options->ignored, "Accepted for runc's sake")->type_name("...");
    add_format(verb, *options);
    verb->footer("The table has the processes inside; json has the PIDs of the host's processes that stand for them.");
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return print_processes(global.sandbox.root(), options->id, options->chosen(), reporter);
        };
    });
}

void add_events(const Verbs& verbs) {
    CLI::App* verb = verbs.add("events", kQueryGroup, "Print what a container uses, as JSON lines");
    auto options = std::make_shared<QueryOptions>();
    auto interval_s = std::make_shared<std::string>("5s");
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_flag("--stats", options->stats, "Once");
    verb->add_option("--interval", *interval_s, "Time between two lines, such as 500ms, 5s, 2m")->capture_default_str();
    verb->callback([verbs, options, interval_s] {
        verbs.action = [&global = verbs.options, options, interval_s](Reporter& reporter) {
            const std::optional<unsigned> interval = milliseconds_of(*interval_s);
            if (interval)
                return print_events(global.sandbox.root(), options->id, {options->stats, *interval}, reporter);
            reporter.error("--interval " + *interval_s + ": expected a time such as 500ms, 5s or 2m");
            return host::kExitOwnFailure;
        };
    });
}

void add_debug(const Verbs& verbs) {
    CLI::App* verb = verbs.add("debug", kQueryGroup, "Look into a container that hangs");
    auto options = std::make_shared<QueryOptions>();
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_flag("--stacks", options->stacks, "What each task waits for")->required();
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return print_stacks(global.sandbox.root(), options->id, reporter);
        };
    });
}

}  // namespace

std::optional<unsigned> milliseconds_of(const std::string& text) {
    constexpr size_t kMostDigits = 6;
    size_t end = 0;
    while (end < text.size() && end <= kMostDigits && text[end] >= '0' && text[end] <= '9') end++;
    if (end == 0 || end > kMostDigits) return std::nullopt;
    const auto number = static_cast<unsigned>(std::stoul(text.substr(0, end)));
    const std::string unit = text.substr(end);
    if (number == 0) return std::nullopt;
    if (unit == "ms") return number;
    if (unit == "s" || unit.empty()) return number * 1000;
    if (unit == "m" && number < 10'000) return number * 60'000;
    return std::nullopt;
}

void add_queries(const Verbs& verbs) {
    add_list(verbs);
    add_state(verbs);
    add_ps(verbs);
    add_events(verbs);
    add_debug(verbs);
}

}  // namespace kvmsbx::oci::cli
