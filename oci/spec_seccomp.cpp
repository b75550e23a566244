// linux.seccomp, as it stands. Its names are checked when it is compiled (seccomp_profile.cpp).
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

constexpr size_t kMaxName = 64;
constexpr uint64_t kMaxErrno = 4095;  // SECCOMP_RET_DATA that errno takes

Outcome<std::optional<uint32_t>> errno_or_none(const JsonNode& node, const char* key) {
    const std::optional<uint64_t> number = TRY(node.unsigned_or_none(key, kMaxErrno));
    if (!number) return std::optional<uint32_t>{};
    return std::optional<uint32_t>(static_cast<uint32_t>(*number));
}

Outcome<SeccompArgument> parse_argument(const JsonNode& node) {
    SeccompArgument argument;
    const JsonNode index = TRY(node.require("index", "which argument of the system call it is (0 to 5)"));
    argument.index = static_cast<uint32_t>(TRY(index.unsigned_number(5)));
    argument.value = TRY(TRY(node.require("value", "what to compare with")).unsigned_number(UINT64_MAX));
    argument.value_two = TRY(node.unsigned_or_none("valueTwo", UINT64_MAX)).value_or(0);
    argument.op = TRY(TRY(node.require("op", "how to compare (\"SCMP_CMP_EQ\")")).string(kMaxName));
    return argument;
}

Outcome<SeccompRule> parse_rule(const JsonNode& node) {
    SeccompRule rule;
    const JsonNode names = TRY(node.require("names", "which system calls it is for"));
    rule.names = TRY(names.strings(kMaxListEntries, kMaxName));
    if (rule.names.empty()) return names.wrong("empty; it needs at least one system call");
    rule.action = TRY(TRY(node.require("action", "what happens (\"SCMP_ACT_ALLOW\")")).string(kMaxName));
    rule.errno_ret = TRY(errno_or_none(node, "errnoRet"));
    const std::optional<JsonNode> args = TRY(node.find("args"));
    if (!args) return rule;
    for (const JsonNode& argument : TRY(args->elements(64))) rule.args.push_back(TRY(parse_argument(argument)));
    return rule;
}

}  // namespace

Outcome<std::optional<SeccompSpec>> parse_seccomp(const JsonNode& linux_section) {
    const std::optional<JsonNode> node = TRY(linux_section.find("seccomp"));
    if (!node) return std::optional<SeccompSpec>{};
    SeccompSpec seccomp;
    seccomp.default_action =
        TRY(TRY(node->require("defaultAction", "what happens to calls without a rule")).string(kMaxName));
    seccomp.default_errno_ret = TRY(errno_or_none(*node, "defaultErrnoRet"));
    seccomp.architectures = TRY(node->strings_or_none("architectures", 64, kMaxName));
    seccomp.flags = TRY(node->strings_or_none("flags", 64, kMaxName));
    seccomp.listener_path = TRY(node->string_or("listenerPath", "", kMaxPathBytes));
    if (const std::optional<JsonNode> rules = TRY(node->find("syscalls")))
        for (const JsonNode& rule : TRY(rules->elements(kMaxListEntries)))
            seccomp.rules.push_back(TRY(parse_rule(rule)));
    return std::optional<SeccompSpec>(std::move(seccomp));
}

}  // namespace kvmsbx::oci::parser
