#pragma once
// `kvmsbx spec`: a config.json like `runc spec`'s: a shell in rootfs/, on the terminal, with few capabilities.
#include <string>
#include <string_view>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

std::string_view default_spec();
// Refuses to overwrite a file.
Outcome<> write_default_spec(const std::string& path);

}  // namespace kvmsbx::oci
