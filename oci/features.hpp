#pragma once
// `kvmsbx features`: what engines ask before they give a runtime a config.json (runtime-spec, features.md). Made from
// the tables that the parser works with.
#include <string>
#include <string_view>

namespace kvmsbx::oci {

// The JSON document, with a newline at its end. `version` is that of kvmsbx.
std::string features_json(std::string_view version);

}  // namespace kvmsbx::oci
