#include "oci/features.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "oci/config_file.hpp"
#include "oci/fields.hpp"
#include "oci/mount_options.hpp"
#include "oci/names.hpp"
#include "oci/seccomp_profile.hpp"

namespace kvmsbx::oci {
namespace {

using Json = nlohmann::ordered_json;

Json sorted(std::vector<std::string_view> names) {
    std::sort(names.begin(), names.end());
    return Json(names);
}
Json sorted(std::span<const std::string_view> names) { return sorted(std::vector(names.begin(), names.end())); }

bool is_applied(std::string_view path) {
    const std::span<const Field> fields = spec_fields();
    return std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
        return field.treatment == Treatment::kApplied && (field.path == path || field.path.starts_with(path));
    });
}

// In the order of a container's life, as the table has them.
Json hook_stages() {
    constexpr std::string_view kPrefix = "hooks.", kSuffix = "[].path";
    Json stages = Json::array();
    for (const Field& field : spec_fields()) {
        const std::string_view path = field.path;
        if (!path.starts_with(kPrefix) || !path.ends_with(kSuffix) || field.treatment != Treatment::kApplied) continue;
        stages.push_back(path.substr(kPrefix.size(), path.size() - kPrefix.size() - kSuffix.size()));
    }
    return stages;
}

Json mount_option_names() {
    std::vector<std::string_view> names;
    for (const MountOption& option : mount_options()) names.push_back(option.name);
    return sorted(std::move(names));
}

Json enabled(bool is) { return Json{{"enabled", is}}; }

Json linux_features() {
    Json section;
    section["namespaces"] = sorted(namespace_names());
    section["capabilities"] = capability_names();
    section["cgroup"] = {{"v1", true},
                         {"v2", true},
                         {"systemd", true},
                         {"systemdUser", false},
                         {"rdma", is_applied("linux.resources.rdma")}};
    section["seccomp"] = {{"enabled", is_applied("linux.seccomp.defaultAction")},
                          {"actions", sorted(seccomp_actions())},
                          {"operators", sorted(seccomp_operators())},
                          {"archs", sorted(seccomp_architectures())},
                          {"knownFlags", sorted(seccomp_flags())},
                          {"supportedFlags", sorted(seccomp_flags())}};
    section["apparmor"] = enabled(is_applied("process.apparmorProfile"));
    section["selinux"] = enabled(is_applied("process.selinuxLabel"));
    section["intelRdt"] = enabled(is_applied("linux.intelRdt"));
    section["mountExtensions"]["idmap"] = enabled(is_applied("mounts[].uidMappings[].size"));
    section["netDevices"] = enabled(is_applied("linux.netDevices"));
    return section;
}

}  // namespace

std::string features_json(std::string_view version) {
    Json features;
    features["ociVersionMin"] = "1.0.0";
    features["ociVersionMax"] = "1.2.1";
    features["hooks"] = hook_stages();
    features["mountOptions"] = mount_option_names();
    features["linux"] = linux_features();
    features["annotations"] = {{"dev.kvmsbx.version", version}};
    features["potentiallyUnsafeConfigAnnotations"] = {kFlagAnnotationPrefix};
    return features.dump(4) + "\n";
}

}  // namespace kvmsbx::oci
