// mounts: what is mounted where, in order.
#include <sys/mount.h>

#include <algorithm>
#include <array>

#include "oci/mount_options.hpp"
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

void apply_effect(MountEffect effect, MountSpec& mount) {
    switch (effect) {
        case MountEffect::kFlags:
        case MountEffect::kBind: break;
        case MountEffect::kRecursiveBind: mount.recursive_bind = true; break;
        case MountEffect::kReadonlyBelow: mount.recursive_readonly = true; break;
        case MountEffect::kWritableBelow: mount.recursive_readonly = false; break;
        case MountEffect::kCopyUp: mount.copy_up = true; break;
        case MountEffect::kNoCopyUp: mount.copy_up = false; break;
        case MountEffect::kIdmap: mount.idmapped = true; break;
    }
}

Outcome<> apply_options(const JsonNode& node, const std::vector<std::string>& options, MountSpec& mount) {
    for (size_t i = 0; i < options.size(); ++i) {
        if (options[i].empty()) continue;
        if (const MountOption* option = find_mount_option(options[i])) {
            mount.flags = (mount.flags & ~option->clear) | option->set;
            apply_effect(option->effect, mount);
            continue;
        }
        const Outcome<> known = check_mount_data(mount.type, options[i]);
        if (known.is_error())
            return Failure{node.path() + ".options[" + std::to_string(i) + "]: " + known.error().message};
        mount.data += (mount.data.empty() ? "" : ",") + options[i];
    }
    if (!(mount.flags & MS_RDONLY)) mount.recursive_readonly = false;
    if (mount.data.size() > kMaxPathBytes)
        return node.wrong("the options are longer than " + std::to_string(kMaxPathBytes) + " bytes");
    return {};
}

// Mapped owners: of a bind mount only, by mappings of its own or by the container's.
Outcome<> parse_mappings(const JsonNode& node, MountSpec& mount) {
    mount.uid_mappings = TRY(parse_id_mappings(node, "uidMappings"));
    mount.gid_mappings = TRY(parse_id_mappings(node, "gidMappings"));
    if (mount.uid_mappings.empty() != mount.gid_mappings.empty())
        return node.wrong("uidMappings and gidMappings go together; give both or none");
    mount.idmapped |= !mount.uid_mappings.empty();
    if (mount.idmapped && !mount.is_bind())
        return node.wrong("idmap is for bind mounts; a " + mount.type + " is the sandbox's own");
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
    if (mount.copy_up && mount.type != "tmpfs")
        return node.wrong("tmpcopyup is an option of tmpfs, not of " + mount.type + "; remove it");
    TRY(parse_mappings(node, mount));
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
