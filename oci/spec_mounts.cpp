// mounts: what is mounted where, in order.
#include <algorithm>
#include <array>

#include "oci/names.hpp"
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

// The file systems that the Sentry has, or answers with something of its own.
constexpr std::array<std::string_view, 9> kTypes = {"proc",  "tmpfs",  "devtmpfs", "dev",    "devpts",
                                                    "sysfs", "mqueue", "cgroup",   "cgroup2"};

bool asks_for_bind(const std::string& type, const std::vector<std::string>& options) {
    if (type == "bind") return true;
    return std::any_of(options.begin(), options.end(),
                       [](const std::string& o) { return o == "bind" || o == "rbind"; });
}

Outcome<> apply_options(const JsonNode& node, const std::vector<std::string>& options, MountSpec& mount) {
    for (size_t i = 0; i < options.size(); ++i) {
        const std::optional<MountOption> option = mount_option(options[i]);
        if (option) {
            mount.flags = (mount.flags & ~option->clear) | option->set;
            continue;
        }
        if (mount.is_bind()) {
            return Failure{node.path() + ".options[" + std::to_string(i) + "]: \"" + options[i].substr(0, 80) +
                           "\" is not an option of bind mounts; remove it"};
        }
        mount.data += (mount.data.empty() ? "" : ",") + options[i];
    }
    if (mount.data.size() > kMaxPathBytes)
        return node.wrong("the options are longer than " + std::to_string(kMaxPathBytes) + " bytes");
    return {};
}

Outcome<MountSpec> parse_mount(const JsonNode& node) {
    MountSpec mount;
    mount.destination = TRY(absolute_path(TRY(node.require("destination", "where to mount it"))));
    mount.type = TRY(node.string_or("type", "", 64));
    mount.source = TRY(node.string_or("source", "", kMaxPathBytes));
    const std::vector<std::string> options = TRY(node.strings_or_none("options", kMaxListEntries, kMaxPathBytes));
    if (asks_for_bind(mount.type, options)) {
        mount.type = "bind";
        TRY(node.require("source", "which file or folder of the host to bind"));
        if (mount.source.empty())
            return Failure{node.path() + ".source: empty; a bind mount needs a file or folder of the host"};
    } else if (mount.type.empty()) {
        return Failure{node.path() + ".type: missing; it says what to mount (\"tmpfs\", \"bind\" ...)"};
    } else if (std::find(kTypes.begin(), kTypes.end(), mount.type) == kTypes.end()) {
        return Failure{node.path() + ".type: \"" + mount.type +
                       "\" is not supported; use bind, proc, tmpfs, devtmpfs, devpts, sysfs, mqueue or cgroup"};
    }
    TRY(apply_options(node, options, mount));
    mount.uid_mappings = TRY(parse_id_mappings(node, "uidMappings"));
    mount.gid_mappings = TRY(parse_id_mappings(node, "gidMappings"));
    return mount;
}

}  // namespace

Outcome<std::vector<MountSpec>> parse_mounts(const JsonNode& document) {
    std::vector<MountSpec> mounts;
    std::optional<JsonNode> node = TRY(document.find("mounts"));
    if (!node) return mounts;
    for (const JsonNode& entry : TRY(node->elements(kMaxMounts))) mounts.push_back(TRY(parse_mount(entry)));
    return mounts;
}

}  // namespace kvmsbx::oci::parser
