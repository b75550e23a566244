#pragma once
// Starts the two processes of a sandbox and what connects them.
//
//   monitor ── control (socket) ──► boot  common/control/messages.hpp; its hang-up ends boot
//    │ ◄── log (pipe) ─── boot, gofer      their messages
//    └──── lifeline (pipe) ──► gofer       its hang-up ends the gofer
//   gofer ◄── channel (memfd), doorbell, completion (eventfds) ──► boot (the guest)
//
// Each is in namespaces of its own, or, with Namespaces::kNone, in the caller's: then only the signal at the parent's
// death and the hang-ups above end the processes.
//
// Everything is made here, before either process runs, and each gets only its own ends.
#include <cstdint>
#include <string>
#include <vector>

#include "common/host/fd.hpp"
#include "oci/confine.hpp"
#include "oci/outcome.hpp"
#include "oci/process.hpp"

namespace kvmsbx::oci {

struct LaunchPlan {
    std::string bundle;             // absolute
    std::string config_text;        // the config.json that was checked: the gofer must not read another one
    std::vector<uint8_t> app_spec;  // an encoded spec::SandboxSpec
    // What becomes the first process's descriptors 0, 1, 2 ...; at least three.
    std::vector<int> streams{0, 1, 2};
    Namespaces namespaces = Namespaces::kOwn;
    bool maps_ids = false;                 // linux.uidMappings or gidMappings: the gofer has to know a user namespace
    std::vector<std::string> boot_flags;   // --cpus, --memory, --platform, --privilege, --debug, --strace
    std::vector<std::string> gofer_flags;  // --debug, --file-access ...
};

struct SandboxProcesses {
    Child gofer, boot;
    host::Fd control;   // SOCK_STREAM, non-blocking
    host::Fd log;       // read end, non-blocking
    host::Fd lifeline;  // the gofer's
};

Outcome<SandboxProcesses> launch(const LaunchPlan& plan);

}  // namespace kvmsbx::oci
