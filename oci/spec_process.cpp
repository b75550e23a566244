// process: args, env, cwd, user, capabilities, rlimits, terminal.
#include <algorithm>
#include <limits>

#include "oci/names.hpp"
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

constexpr uint64_t kMaxU32 = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kMaxId = kMaxU32 - 1;  // (uid_t)-1 means "unchanged" to Linux

Outcome<uint32_t> id_or_zero(const JsonNode& user, const char* key) {
    std::optional<JsonNode> node = TRY(user.find(key));
    if (!node) return uint32_t{0};
    return static_cast<uint32_t>(TRY(node->unsigned_number(kMaxId)));
}

Outcome<UserSpec> parse_user(const JsonNode& process) {
    UserSpec user;
    std::optional<JsonNode> node = TRY(process.find("user"));
    if (!node) return user;
    user.uid = TRY(id_or_zero(*node, "uid"));
    user.gid = TRY(id_or_zero(*node, "gid"));
    if (std::optional<JsonNode> umask = TRY(node->find("umask")))
        user.umask = static_cast<uint32_t>(TRY(umask->unsigned_number(0777)));
    if (std::optional<JsonNode> groups = TRY(node->find("additionalGids"))) {
        for (const JsonNode& gid : TRY(groups->elements(kMaxListEntries))) {
            user.additional_gids.push_back(static_cast<uint32_t>(TRY(gid.unsigned_number(kMaxId))));
        }
    }
    return user;
}

Outcome<uint64_t> parse_capability_set(const JsonNode& capabilities, const char* key) {
    uint64_t set = 0;
    std::optional<JsonNode> node = TRY(capabilities.find(key));
    if (!node) return set;
    for (const JsonNode& entry : TRY(node->elements(kMaxListEntries))) {
        const std::string name = TRY(entry.string(64));
        const std::optional<unsigned> number = capability_number(name);
        if (!number) return entry.wrong("\"" + name + "\" is no Linux capability (they look like \"CAP_KILL\")");
        set |= uint64_t{1} << *number;
    }
    return set;
}

Outcome<CapabilitySets> parse_capabilities(const JsonNode& process) {
    CapabilitySets sets;
    std::optional<JsonNode> node = TRY(process.find("capabilities"));
    if (!node) return sets;
    sets.bounding = TRY(parse_capability_set(*node, "bounding"));
    sets.effective = TRY(parse_capability_set(*node, "effective"));
    sets.inheritable = TRY(parse_capability_set(*node, "inheritable"));
    sets.permitted = TRY(parse_capability_set(*node, "permitted"));
    sets.ambient = TRY(parse_capability_set(*node, "ambient"));
    return sets;
}

Outcome<RlimitSpec> parse_rlimit(const JsonNode& node) {
    const JsonNode type = TRY(node.require("type", "which limit it is (\"RLIMIT_NOFILE\")"));
    const std::string name = TRY(type.string(64));
    const std::optional<uint32_t> number = rlimit_number(name);
    if (!number) return type.wrong("\"" + name + "\" is no resource limit (they look like \"RLIMIT_NOFILE\")");
    constexpr uint64_t kMaxLimit = std::numeric_limits<uint64_t>::max();
    RlimitSpec limit{*number, 0, 0};
    limit.hard = TRY(TRY(node.require("hard", "the hard limit")).unsigned_number(kMaxLimit));
    const JsonNode soft = TRY(node.require("soft", "the soft limit"));
    limit.soft = TRY(soft.unsigned_number(kMaxLimit));
    if (limit.soft > limit.hard)
        return soft.wrong("the soft limit is above the hard limit " + std::to_string(limit.hard));
    return limit;
}

Outcome<std::vector<RlimitSpec>> parse_rlimits(const JsonNode& process) {
    std::vector<RlimitSpec> limits;
    std::optional<JsonNode> node = TRY(process.find("rlimits"));
    if (!node) return limits;
    for (const JsonNode& entry : TRY(node->elements(kMaxListEntries))) {
        const RlimitSpec limit = TRY(parse_rlimit(entry));
        const bool twice = std::any_of(limits.begin(), limits.end(),
                                       [&](const RlimitSpec& l) { return l.resource == limit.resource; });
        if (twice) return entry.wrong("this limit is given twice");
        limits.push_back(limit);
    }
    return limits;
}

Outcome<std::optional<ConsoleSize>> parse_console_size(const JsonNode& process) {
    std::optional<JsonNode> node = TRY(process.find("consoleSize"));
    if (!node) return std::optional<ConsoleSize>{};
    ConsoleSize size{};
    constexpr uint64_t kMaxSide = 0xffff;  // struct winsize
    size.rows =
        static_cast<uint32_t>(TRY(TRY(node->require("height", "the rows of the terminal")).unsigned_number(kMaxSide)));
    size.columns = static_cast<uint32_t>(
        TRY(TRY(node->require("width", "the columns of the terminal")).unsigned_number(kMaxSide)));
    return std::optional<ConsoleSize>(size);
}

Outcome<std::vector<std::string>> parse_args(const JsonNode& process) {
    const JsonNode args = TRY(process.require("args", "the program and its arguments"));
    std::vector<std::string> words = TRY(args.strings(kMaxArguments, kMaxStringBytes));
    if (words.empty()) return args.wrong("empty; it needs at least the program (\"args\": [\"/bin/sh\"])");
    if (words[0].empty()) return Failure{args.path() + "[0]: the program's name is empty"};
    return words;
}

}  // namespace

Outcome<ProcessSpec> parse_process(const JsonNode& node) {
    TRY(node.expect_object());
    ProcessSpec process;
    process.terminal = TRY(node.boolean_or("terminal", false));
    process.console_size = TRY(parse_console_size(node));
    process.user = TRY(parse_user(node));
    process.args = TRY(parse_args(node));
    process.env = TRY(node.strings_or_none("env", kMaxArguments, kMaxStringBytes));
    process.cwd = TRY(absolute_path(TRY(node.require("cwd", "the working directory (\"/\")"))));
    process.capabilities = TRY(parse_capabilities(node));
    process.rlimits = TRY(parse_rlimits(node));
    process.no_new_privileges = TRY(node.boolean_or("noNewPrivileges", false));
    process.apparmor_profile = TRY(node.string_or("apparmorProfile", "", kMaxPathBytes));
    process.selinux_label = TRY(node.string_or("selinuxLabel", "", kMaxPathBytes));
    TRY(parse_scheduling(node, process));
    return process;
}

}  // namespace kvmsbx::oci::parser
