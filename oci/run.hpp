#pragma once
// `kvmsbx run`: a bundle in a sandbox, from config.json to the application's exit code.
#include <cstdint>
#include <string>

#include "oci/app_spec.hpp"
#include "oci/reporter.hpp"
#include "oci/supervise.hpp"

namespace kvmsbx::oci {

struct RunOptions {
    std::string bundle;              // "" or a folder
    std::string id;                  // "": made up
    std::string state_root;          // "": default_state_root()
    unsigned cpus = 0;               // 0: all that the process may use
    uint64_t memory = 0;             // bytes of guest memory; 0: all of the host's
    std::string platform = "auto";   // auto, kvm, process
    std::string privilege = "auto";  // auto, ring0, ring3
    bool no_namespaces = false;      // for containers whose filter forbids them
    FileAccess file_access = FileAccess::kExclusive;
    bool overlay = false;
    bool strict = false;  // fields of config.json that are not applied are errors
    bool strace = false;
    CrashRequest crash;
};

// The application's exit code, or host::kExitOwnFailure after one line to the reporter.
int run_container(const RunOptions& options, Reporter& reporter);

}  // namespace kvmsbx::oci
