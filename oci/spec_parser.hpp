#pragma once
// The pieces of parse_spec(), one file each. Every failure is "FIELD: problem"; parse_spec puts file and line before
// it.
#include "oci/json_node.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci::parser {

Outcome<ProcessSpec> parse_process(const JsonNode& process);
Outcome<std::vector<MountSpec>> parse_mounts(const JsonNode& document);
// Lists what the document asks for and kvmsbx does not do. `part` is where it stands in config.json: "" for the whole,
// "process" for the document of `exec`.
void append_unapplied(const JsonNode& document, const std::string& part, std::vector<UnappliedField>& out);

Outcome<HookSpecs> parse_hooks(const JsonNode& document);
// The object linux.resources itself.
Outcome<Resources> parse_resources(const JsonNode& resources);
// `linux`, whole.
Outcome<> parse_linux(const JsonNode& document, Spec& spec);
Outcome<std::optional<SeccompSpec>> parse_seccomp(const JsonNode& linux_section);
// scheduler, ioPriority, execCPUAffinity, oomScoreAdj.
Outcome<> parse_scheduling(const JsonNode& node, ProcessSpec& process);

Outcome<std::vector<IdMapping>> parse_id_mappings(const JsonNode& parent, const char* key);
Outcome<std::map<std::string, std::string>> parse_string_map(const JsonNode& parent, const char* key);
// An absolute path of at most kMaxPathBytes.
Outcome<std::string> absolute_path(const JsonNode& node);

}  // namespace kvmsbx::oci::parser
