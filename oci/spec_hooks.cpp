// hooks: the programs that are run at the stages of a container's life.
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

constexpr size_t kMaxHooks = 256;  // a stage

Outcome<HookSpec> parse_hook(const JsonNode& node) {
    HookSpec hook;
    hook.path = TRY(absolute_path(TRY(node.require("path", "which program to run"))));
    hook.args = TRY(node.strings_or_none("args", kMaxArguments, kMaxStringBytes));
    hook.env = TRY(node.strings_or_none("env", kMaxArguments, kMaxStringBytes));
    const std::optional<JsonNode> timeout = TRY(node.find("timeout"));
    if (!timeout) return hook;
    constexpr int64_t kMaxSeconds = INT32_MAX / 1000;  // poll(2) counts milliseconds
    hook.timeout_s = static_cast<uint32_t>(TRY(timeout->signed_number(1, kMaxSeconds)));
    return hook;
}

Outcome<std::vector<HookSpec>> parse_stage(const JsonNode& hooks, const char* stage) {
    std::vector<HookSpec> list;
    const std::optional<JsonNode> node = TRY(hooks.find(stage));
    if (!node) return list;
    for (const JsonNode& hook : TRY(node->elements(kMaxHooks))) list.push_back(TRY(parse_hook(hook)));
    return list;
}

}  // namespace

Outcome<HookSpecs> parse_hooks(const JsonNode& document) {
    HookSpecs hooks;
    const std::optional<JsonNode> node = TRY(document.find("hooks"));
    if (!node) return hooks;
    hooks.prestart = TRY(parse_stage(*node, "prestart"));
    hooks.create_runtime = TRY(parse_stage(*node, "createRuntime"));
    hooks.create_container = TRY(parse_stage(*node, "createContainer"));
    hooks.start_container = TRY(parse_stage(*node, "startContainer"));
    hooks.poststart = TRY(parse_stage(*node, "poststart"));
    hooks.poststop = TRY(parse_stage(*node, "poststop"));
    return hooks;
}

}  // namespace kvmsbx::oci::parser
