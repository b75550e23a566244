#pragma once
// Writes the records of common/abi/app_spec.hpp: what the Sentry has to know of the config.json and of the command
// line.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "oci/spec.hpp"

namespace kvmsbx::oci {

enum class FileAccess : uint8_t { kExclusive, kShared };

// What the command line adds to the Spec.
struct AppOptions {
    bool terminal = false;  // process.terminal, and there is a host terminal
    ConsoleSize console_size{0, 0};
    FileAccess file_access = FileAccess::kExclusive;
    bool overlay = false;
    uint32_t cpu_limit = 0;  // CPUs granted by --cpus or linux.resources.cpu; 0: no limit
};

// The blob always ends with a kEnd record. Bind mounts become type "9p" whose source is the index in Spec::mounts, in
// decimal.
std::vector<std::byte> encode_app_spec(const Spec& spec, const AppOptions& options);

}  // namespace kvmsbx::oci
