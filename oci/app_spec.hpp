#pragma once
// What the Sentry has to know of the config.json and of the command line: common/spec/.
#include <cstdint>
#include <vector>

#include "common/spec/sandbox_spec.hpp"
#include "common/wire/owned.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {

enum class FileAccess : uint8_t { kExclusive, kShared };

// What the command line adds to the Spec.
struct AppOptions {
    bool terminal = false;  // process.terminal, and there is a host terminal
    ConsoleSize console_size{0, 0};
    FileAccess file_access = FileAccess::kExclusive;  // of the root
    FileAccess mounts_access = FileAccess::kShared;   // of bind mounts
    bool overlay = false;
    uint32_t cpus = 0;  // granted by --cpus; 0: what linux.resources.cpu says
    bool wait_for_start = false;
    std::string hook_state;           // what startContainer hooks read
    std::vector<size_t> made_places;  // indices of the mounts whose places were made for them
};

// The process without a terminal.
Outcome<spec::ProcessSpec<wire::Owned>> make_process_spec(const ProcessSpec& process,
                                                          const std::optional<SeccompSpec>& seccomp);

// Bind mounts become type "9p" whose source is the index in Spec::mounts, in decimal. wire::encode() makes of it what
// `boot` reads from its --spec-fd.
Outcome<spec::SandboxSpec<wire::Owned>> make_sandbox_spec(const Spec& spec, const AppOptions& options);

}  // namespace kvmsbx::oci
