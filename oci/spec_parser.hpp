#pragma once
// The pieces of parse_spec(), one file each. Every failure is "FIELD: problem"; parse_spec puts file and line before
// it.
#include "oci/json_node.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci::parser {

Outcome<ProcessSpec> parse_process(const JsonNode& process);
Outcome<std::vector<MountSpec>> parse_mounts(const JsonNode& document);
// Lists what the document asks for and kvmsbx does not do.
Outcome<std::vector<UnappliedField>> find_unapplied(const JsonNode& document);

// The limits of linux.resources that are applied.
Outcome<ResourceLimits> parse_resources(const JsonNode& linux_section);

// An absolute path of at most kMaxPathBytes.
Outcome<std::string> absolute_path(const JsonNode& node);

}  // namespace kvmsbx::oci::parser
