#pragma once
// Takes away from the sandbox process everything that it will not need, before guest code runs: see confine().
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

// For a process that was started in namespaces of its own (mount, pid, network, ipc, uts). Afterwards: the root is an
// empty read-only tmpfs, there are no capabilities and no way to get any (bounding set empty, no_new_privs), the ids
// are nobody's where the caller was root, and the process is killed when its parent dies. The seccomp filter comes
// later, from run_sandbox().
Outcome<> confine();

}  // namespace kvmsbx::oci
