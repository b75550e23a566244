#pragma once
// Takes away from the sandbox process everything that it will not need, before guest code runs: see confine().
#include "common/host/log.hpp"
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

enum class Namespaces : bool { kNone, kOwn };

// Afterwards: the root is an empty read-only folder, there are no capabilities and no way to get any (bounding set
// empty, no_new_privs), the ids are nobody's where the caller was root, and the process is killed when its parent dies.
// The seccomp filter comes later, from run_sandbox().
//
// kOwn: the process was started in namespaces of its own (mount, pid, network, ipc, uts). kNone: it was not, and does
// what its rights allow: the empty root needs CAP_SYS_CHROOT, the ids CAP_SETUID and CAP_SETGID; Landlock, where the
// host has it, refuses all files. `log` gets a debug line for each that is missing.
Outcome<> confine(Namespaces namespaces, const host::Log& log);

}  // namespace kvmsbx::oci
