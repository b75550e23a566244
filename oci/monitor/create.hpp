#pragma once
// `kvmsbx create` and `kvmsbx run`: a bundle becomes a container.
//
// Both take one way: create, start, wait, delete. `run` is the monitor itself, and goes all of it; `create` and
// `run --detach` leave a monitor behind, a child that the caller's subreaper inherits, and end once the container is
// created (or runs).
#include <cstdint>
#include <string>

#include "oci/app_spec.hpp"
#include "oci/monitor/monitor.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

// What the global flags say of a sandbox.
struct SandboxOptions {
    std::string state_root;                           // "": default_state_root()
    unsigned cpus = 0;                                // 0: all that the process may use
    uint64_t memory = 0;                              // bytes of guest memory; 0: all of the host's
    std::string platform = "auto";                    // auto, kvm, process
    std::string privilege = "auto";                   // auto, ring0, ring3
    bool no_namespaces = false;                       // for containers whose filter forbids them
    FileAccess file_access = FileAccess::kExclusive;  // of the root
    FileAccess mounts_access = FileAccess::kShared;   // of bind mounts
    bool overlay = false;
    bool strict = false;  // fields of config.json that are not applied are errors
    bool strace = false;
    bool systemd_cgroup = false;
    bool ignore_cgroups = false;  // the host's are left alone; the Sentry keeps the limits

    std::string root() const;
};

struct CreateOptions {
    std::string bundle;          // "" or a folder
    std::string id;              // "": made up
    std::string pid_file;        // "": none
    std::string console_socket;  // "": none
    unsigned preserve_fds = 0;   // descriptors from 3 on that the container gets
    unsigned listen_fds = 0;     // before those: what sd_listen_fds(3) describes
    bool detach = false;         // `run`: do not wait
    bool keep = false;           // `run`: do not delete
    CrashRequest crash;
};

// The application's exit code (0 with `detach`), or another one after a line to the reporter.
int run_container(const SandboxOptions& sandbox, const CreateOptions& options, Reporter& reporter);
// 0 once the container is created.
int create_container(const SandboxOptions& sandbox, const CreateOptions& options, Reporter& reporter);

}  // namespace kvmsbx::oci
