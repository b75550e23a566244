// What a config.json can ask for and kvmsbx does not do. Silence would be a lie: each field is named once.
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

struct Rule {
    const char* section;  // "" for the top level
    const char* field;
    bool matters;
    const char* why;
};

constexpr Rule kRules[] = {
    {"", "hooks", true, "no hook is run"},
    {"", "windows", false, "for another platform"},
    {"", "solaris", false, "for another platform"},
    {"", "vm", false, "for another kind of runtime"},
    {"process", "apparmorProfile", false, "the application is confined by the sandbox, not by the host's AppArmor"},
    {"process", "selinuxLabel", false, "the application is confined by the sandbox, not by the host's SELinux"},
    {"process", "oomScoreAdj", false, "the sandbox keeps the score of its caller"},
    {"process", "scheduler", true, "the application gets the default scheduling"},
    {"process", "ioPriority", true, "the application gets the default I/O priority"},
    {"linux", "seccomp", true,
     "the application's system calls are not filtered by the profile (they never reach the host's kernel)"},
    {"linux", "devices", true, "the sandbox has its own devices only (null, zero, full, random, urandom, tty, ptmx)"},
    {"linux", "uidMappings", true, "ids inside are ids outside"},
    {"linux", "gidMappings", true, "ids inside are ids outside"},
    {"linux", "timeOffsets", true, "the clocks are the host's"},
    {"linux", "intelRdt", true, "no cache or bandwidth limit is set"},
    {"linux", "personality", true, "the execution domain is PER_LINUX"},
    {"linux", "cgroupsPath", false, "the sandbox stays in the cgroup of its caller"},
    {"linux", "rootfsPropagation", false, "nothing propagates between the sandbox's mounts and the host's"},
    {"linux", "mountLabel", false, "the application is confined by the sandbox, not by the host's SELinux"},
};

bool is_empty(const nlohmann::json& value) {
    if (value.is_structured() || value.is_null()) return value.empty();
    if (value.is_string()) return value.get_ref<const std::string&>().empty();
    return false;
}

Outcome<> apply_rules(const JsonNode& document, std::vector<UnappliedField>& out) {
    for (const Rule& rule : kRules) {
        std::optional<JsonNode> section = document;
        if (*rule.section) section = TRY(document.find(rule.section));
        if (!section) continue;
        const std::optional<JsonNode> field = TRY(section->find(rule.field));
        if (field && !is_empty(field->value())) out.push_back({field->path(), rule.why, rule.matters});
    }
    return {};
}

struct ResourceRule {
    const char *group, *field, *why;  // null why: applied, or nothing to apply
};
constexpr ResourceRule kResourceRules[] = {
    {"memory", "limit", nullptr},
    {"memory", "swap", nullptr},  // the sandbox never swaps
    {"memory", "swappiness", nullptr},
    {"cpu", "quota", nullptr},
    {"cpu", "period", nullptr},
    {"cpu", "shares", "the sandbox competes for the host's CPUs as any other process"},
};
constexpr const char* kNotEnforced = "the limit is not enforced";

// A group of which a part is applied: its other fields by name.
Outcome<> check_resource_group(const JsonNode& group, std::string_view name, std::vector<UnappliedField>& out) {
    TRY(group.expect_object());
    for (const auto& [field, value] : group.value().items()) {
        const char* why = kNotEnforced;
        for (const ResourceRule& rule : kResourceRules)
            if (name == rule.group && field == rule.field) why = rule.why;
        if (why && !is_empty(value)) out.push_back({group.child_path(field), why, why == kNotEnforced});
    }
    return {};
}

// Device rules are met by having no host device at all; most limits would need a cgroup.
Outcome<> check_resources(const JsonNode& section, std::vector<UnappliedField>& out) {
    std::optional<JsonNode> resources = TRY(section.find("resources"));
    if (!resources) return {};
    TRY(resources->expect_object());
    for (const auto& [name, value] : resources->value().items()) {
        if (name == "devices" || is_empty(value)) continue;
        const JsonNode group(value, resources->child_path(name));
        if (name == "memory" || name == "cpu")
            TRY(check_resource_group(group, name, out));
        else
            out.push_back({group.path(), kNotEnforced, true});
    }
    return {};
}

// The sandbox always has namespaces of its own; joining another's is not done.
Outcome<> check_namespaces(const JsonNode& section, std::vector<UnappliedField>& out) {
    std::optional<JsonNode> namespaces = TRY(section.find("namespaces"));
    if (!namespaces) return {};
    for (const JsonNode& entry : TRY(namespaces->elements(kMaxListEntries))) {
        std::optional<JsonNode> path = TRY(entry.find("path"));
        if (path && !is_empty(path->value()))
            out.push_back({path->path(), "the namespace is not joined, the sandbox has its own", true});
    }
    return {};
}

}  // namespace

Outcome<std::vector<UnappliedField>> find_unapplied(const JsonNode& document) {
    std::vector<UnappliedField> out;
    TRY(apply_rules(document, out));
    if (std::optional<JsonNode> section = TRY(document.find("linux"))) {
        TRY(check_resources(*section, out));
        TRY(check_namespaces(*section, out));
    }
    return out;
}

}  // namespace kvmsbx::oci::parser
