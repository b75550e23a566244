#pragma once
// How engines learn of kvmsbx: Docker's daemon.json is changed in place, for Podman and containerd there are snippets.
#include <string>
#include <string_view>
#include <vector>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

inline constexpr const char* kDockerConfig = "/etc/docker/daemon.json";

struct Registration {
    std::string name = "kvmsbx";            // of the runtime
    std::string path;                       // of this executable
    std::vector<std::string> runtime_args;  // flags before the verb
};

// The text of daemon.json with the runtime in it, or without; everything else as it was, in its order and with its
// indentation. "" is a file that is not there. The failure names file and line.
Outcome<std::string> register_runtime(std::string_view text, const std::string& file, const Registration& registration);
// Refused while default-runtime names it.
Outcome<std::string> unregister_runtime(std::string_view text, const std::string& file, const std::string& name);

// "" for a file that is not there.
Outcome<std::string> read_config(const std::string& path);
// At once, by rename: mode and owner stay, links are followed, a missing folder is made.
Outcome<> replace_config(const std::string& path, std::string_view text);

std::string podman_snippet(const Registration& registration);
std::string containerd_snippet(const Registration& registration);

// Where this executable is.
Outcome<std::string> own_path();

}  // namespace kvmsbx::oci
