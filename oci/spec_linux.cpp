// linux of config.json: namespaces, id mappings, devices, clocks, and the lists of paths.
#include <sys/personality.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "oci/names.hpp"
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

constexpr uint64_t kMaxU32 = UINT32_MAX;

Outcome<NamespaceSpec> parse_namespace(const JsonNode& node) {
    const JsonNode type = TRY(node.require("type", "which kind of namespace it is (\"pid\")"));
    const std::string name = TRY(type.string(64));
    const std::span<const std::string_view> names = namespace_names();
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
        return type.wrong("\"" + name + "\" is no namespace; use pid, network, mount, ipc, uts, user, cgroup or time");
    NamespaceSpec spec{static_cast<NamespaceType>(found - names.begin()), ""};
    const std::optional<JsonNode> path = TRY(node.find("path"));
    if (!path) return spec;
    spec.path = TRY(path->string(kMaxPathBytes));
    if (!spec.path.empty() && spec.path[0] != '/')
        return path->wrong("expected an absolute path, found \"" + spec.path.substr(0, 80) + "\"");
    return spec;
}

Outcome<std::vector<NamespaceSpec>> parse_namespaces(const JsonNode& section) {
    std::vector<NamespaceSpec> list;
    const std::optional<JsonNode> node = TRY(section.find("namespaces"));
    if (!node) return list;
    for (const JsonNode& entry : TRY(node->elements(kMaxListEntries))) {
        const NamespaceSpec spec = TRY(parse_namespace(entry));
        const bool twice =
            std::any_of(list.begin(), list.end(), [&](const NamespaceSpec& n) { return n.type == spec.type; });
        if (twice) return entry.wrong("this namespace is given twice");
        list.push_back(spec);
    }
    return list;
}

Outcome<IdMapping> parse_id_mapping(const JsonNode& node) {
    const auto number = [&](const char* key, const char* purpose) -> Outcome<uint32_t> {
        return static_cast<uint32_t>(TRY(TRY(node.require(key, purpose)).unsigned_number(kMaxU32)));
    };
    IdMapping mapping;
    mapping.inside = TRY(number("containerID", "the first id inside"));
    mapping.outside = TRY(number("hostID", "the first id on the host"));
    mapping.size = TRY(number("size", "how many ids there are"));
    if (mapping.size == 0) return Failure{node.child_path("size") + ": 0; a mapping needs at least one id"};
    const uint64_t last = std::max(mapping.inside, mapping.outside) + uint64_t{mapping.size} - 1;
    if (last > kMaxU32) return node.wrong("the ids go beyond 4294967295");
    return mapping;
}

constexpr struct {
    std::string_view name;
    uint32_t type;
} kDeviceTypes[] = {{"c", S_IFCHR}, {"u", S_IFCHR}, {"b", S_IFBLK}, {"p", S_IFIFO}};

Outcome<uint32_t> parse_device_type(const JsonNode& node) {
    const std::string name = TRY(node.string(8));
    for (const auto& [text, type] : kDeviceTypes)
        if (name == text) return type;
    return node.wrong("\"" + name + "\" is no kind of device; use c, u, b or p");
}

Outcome<DeviceSpec> parse_device(const JsonNode& node) {
    DeviceSpec device;
    device.path = TRY(absolute_path(TRY(node.require("path", "where the device is in the container"))));
    device.type = TRY(parse_device_type(TRY(node.require("type", "which kind of device it is (\"c\")"))));
    constexpr int64_t kMaxMajor = 0xfff, kMaxMinor = 0xfffff;  // dev_t of Linux
    device.major = static_cast<uint32_t>(TRY(node.signed_or_none("major", 0, kMaxMajor)).value_or(0));
    device.minor = static_cast<uint32_t>(TRY(node.signed_or_none("minor", 0, kMaxMinor)).value_or(0));
    // Engines give the type's bits along.
    device.mode = static_cast<uint32_t>(TRY(node.unsigned_or_none("fileMode", kMaxU32)).value_or(0666)) & 07777;
    device.uid = static_cast<uint32_t>(TRY(node.unsigned_or_none("uid", kMaxU32 - 1)).value_or(0));
    device.gid = static_cast<uint32_t>(TRY(node.unsigned_or_none("gid", kMaxU32 - 1)).value_or(0));
    return device;
}

Outcome<std::vector<DeviceSpec>> parse_devices(const JsonNode& section) {
    std::vector<DeviceSpec> devices;
    const std::optional<JsonNode> node = TRY(section.find("devices"));
    if (!node) return devices;
    for (const JsonNode& entry : TRY(node->elements(kMaxListEntries))) devices.push_back(TRY(parse_device(entry)));
    return devices;
}

Outcome<int64_t> parse_offset(const JsonNode& node) {
    constexpr int64_t kNanoseconds = 1'000'000'000;
    constexpr int64_t kMaxSeconds = INT64_MAX / kNanoseconds - 1;
    const int64_t seconds = TRY(node.signed_or_none("secs", -kMaxSeconds, kMaxSeconds)).value_or(0);
    const uint64_t rest = TRY(node.unsigned_or_none("nanosecs", kNanoseconds - 1)).value_or(0);
    return seconds * kNanoseconds + static_cast<int64_t>(rest);
}

Outcome<TimeOffsets> parse_time_offsets(const JsonNode& section, bool has_namespace) {
    TimeOffsets offsets;
    const std::optional<JsonNode> node = TRY(section.find("timeOffsets"));
    if (!node) return offsets;
    for (const auto& [clock, offset] : TRY(node->entries(kMaxListEntries))) {
        if (clock != "monotonic" && clock != "boottime")
            return offset.wrong("no clock that can be offset; those are monotonic and boottime");
        if (!has_namespace) return node->wrong("it needs a \"time\" entry in linux.namespaces");
        (clock == "monotonic" ? offsets.monotonic_ns : offsets.boottime_ns) = TRY(parse_offset(offset));
    }
    return offsets;
}

Outcome<uint32_t> parse_personality(const JsonNode& section) {
    const std::optional<JsonNode> node = TRY(section.find("personality"));
    if (!node) return uint32_t{PER_LINUX};
    const JsonNode domain = TRY(node->require("domain", "the execution domain (\"LINUX\")"));
    const std::string name = TRY(domain.string(64));
    if (name != "LINUX" && name != "LINUX32")
        return domain.wrong("\"" + name + "\" is no domain; use LINUX or LINUX32");
    const std::vector<std::string> flags = TRY(node->strings_or_none("flags", 64, 64));
    if (!flags.empty())
        return Failure{node->child_path("flags") + "[0]: the specification has no flags yet; remove it"};
    return uint32_t{name == "LINUX" ? PER_LINUX : PER_LINUX32};
}

Outcome<> parse_mappings(const JsonNode& section, Spec& spec) {
    spec.uid_mappings = TRY(parse_id_mappings(section, "uidMappings"));
    spec.gid_mappings = TRY(parse_id_mappings(section, "gidMappings"));
    const bool given = !spec.uid_mappings.empty() || !spec.gid_mappings.empty();
    if (!given || spec.find_namespace(NamespaceType::kUser)) return {};
    return Failure{section.child_path(spec.uid_mappings.empty() ? "gidMappings" : "uidMappings") +
                   ": it needs a \"user\" entry in linux.namespaces"};
}

}  // namespace

Outcome<std::vector<IdMapping>> parse_id_mappings(const JsonNode& parent, const char* key) {
    constexpr size_t kMaxMappings = 340;  // user_namespaces(7)
    std::vector<IdMapping> mappings;
    const std::optional<JsonNode> node = TRY(parent.find(key));
    if (!node) return mappings;
    for (const JsonNode& entry : TRY(node->elements(kMaxMappings))) mappings.push_back(TRY(parse_id_mapping(entry)));
    return mappings;
}

Outcome<> parse_linux(const JsonNode& document, Spec& spec) {
    const std::optional<JsonNode> section = TRY(document.find("linux"));
    if (!section) return {};
    TRY(section->expect_object());
    spec.masked_paths = TRY(section->strings_or_none("maskedPaths", kMaxListEntries, kMaxPathBytes));
    spec.readonly_paths = TRY(section->strings_or_none("readonlyPaths", kMaxListEntries, kMaxPathBytes));
    spec.sysctl = TRY(parse_string_map(*section, "sysctl"));
    spec.cgroups_path = TRY(section->string_or("cgroupsPath", "", kMaxPathBytes));
    spec.namespaces = TRY(parse_namespaces(*section));
    TRY(parse_mappings(*section, spec));
    spec.devices = TRY(parse_devices(*section));
    spec.seccomp = TRY(parse_seccomp(*section));
    spec.time_offsets = TRY(parse_time_offsets(*section, spec.find_namespace(NamespaceType::kTime) != nullptr));
    spec.personality = TRY(parse_personality(*section));
    if (const std::optional<JsonNode> resources = TRY(section->find("resources")))
        spec.resources = TRY(parse_resources(*resources));
    spec.limits = limits_of(spec.resources);
    return {};
}

}  // namespace kvmsbx::oci::parser

namespace kvmsbx::oci {

const NamespaceSpec* Spec::find_namespace(NamespaceType type) const {
    const auto found =
        std::find_if(namespaces.begin(), namespaces.end(), [&](const NamespaceSpec& n) { return n.type == type; });
    return found == namespaces.end() ? nullptr : &*found;
}

}  // namespace kvmsbx::oci
