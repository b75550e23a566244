#pragma once
// A bundle on the host: config.json read, parsed and checked against the file system.
#include <string>

#include "oci/spec.hpp"

namespace kvmsbx::oci {

struct Bundle {
    std::string path;         // absolute
    std::string config_path;  // path + "/config.json"
    std::string config_text;  // what spec was parsed from
    Spec spec;
};

// Fails with a line that names file, line and field. Checks that the root and the sources of bind mounts are there.
Outcome<Bundle> load_bundle(const std::string& folder);

}  // namespace kvmsbx::oci
