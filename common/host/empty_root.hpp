#pragma once
// An empty root directory for a process that may make no mounts.
#include "common/base/result.hpp"

namespace kvmsbx::host {

// The root and the current folder become a directory that is empty for ever, and that nobody can fill: the
// /proc/PID/fdinfo of a process that has ended. Nothing is left on the host. Needs /proc and CAP_SYS_CHROOT (kPERM
// without it); descriptors that are open stay usable.
Result<> enter_dead_root();

}  // namespace kvmsbx::host
