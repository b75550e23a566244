#include <nlohmann/json.hpp>

#include "oci/container/access.hpp"
#include "oci/container/cgroup.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci {
namespace {

using nlohmann::ordered_json;

// What an engine leaves as it is stands in its document as 0, "" or null.
bool says_nothing(const ordered_json& value) {
    return value.is_null() || (value.is_number() && value == 0) || (value.is_string() && value.empty()) ||
           (value.is_structured() && value.empty());
}

ordered_json without_empty_fields(const ordered_json& object) {
    ordered_json kept = ordered_json::object();
    for (const auto& [name, value] : object.items()) {
        const ordered_json inner = value.is_object() ? without_empty_fields(value) : value;
        if (!says_nothing(inner) && inner != ordered_json("")) kept[name] = inner;
    }
    return kept;
}

// The container's config.json with these resources in it.
Outcome<std::string> merge(const std::string& config_text, const std::string& resources_text, const std::string& file) {
    std::vector<UnappliedField> unapplied;
    TRY(parse_resources(resources_text, file, unapplied));  // for its messages, which name the field
    ordered_json config = ordered_json::parse(config_text, nullptr, false);
    if (!config.is_object()) return Failure{"the container's config.json is damaged"};
    config["linux"]["resources"].merge_patch(without_empty_fields(ordered_json::parse(resources_text)));
    return config.dump();
}

spec::Limits limits_for_sentry(const ResourceLimits& limits, uint64_t memory, bool host_counts) {
    spec::Limits out;
    out.memory = memory;
    out.host_counts_memory = host_counts;
    out.pids = limits.pids;
    out.cpu_quota = limits.cpu_quota;
    out.cpu_period = limits.cpu_period;
    out.cpu_shares = limits.cpu_shares;
    return out;
}

Outcome<> update(const std::string& root, const std::string& id, const std::string& resources_text,
                 const std::string& file) {
    const Container container = TRY(find_container(root, id));
    if (container.status == Status::kPaused) return Failure{"container " + id + " is paused; resume it first"};
    ControlConnection monitor = TRY(connect(container));
    const std::string text = TRY(merge(TRY(container.folder.read_config()), resources_text, file));
    const Spec spec = TRY(parse_spec(text, "config.json of container " + id + " with the new limits"));
    const SandboxPlatform platform = platform_of(container.record);
    const bool has_cgroup = !container.record.cgroups.empty();
    const uint64_t memory = has_cgroup ? sentry_memory_limit(spec.limits.memory, platform) : spec.limits.memory;
    // The Sentry first: it kills inside what a lower limit of the host would end as a whole.
    TRY(ask(monitor, control::Update{limits_for_sentry(spec.limits, memory, has_cgroup)}));
    if (has_cgroup)
        TRY(Cgroup::from_paths(container.record.cgroups, container.record.systemd_unit)
                .update(spec.resources, sandbox_overhead(platform, container.record.cpus)));
    return container.folder.write_config(text);
}

}  // namespace

int update_container(const std::string& root, const std::string& id, const std::string& resources_text,
                     const std::string& file, Reporter& reporter) {
    return finish(update(root, id, resources_text, file), reporter);
}

}  // namespace kvmsbx::oci
