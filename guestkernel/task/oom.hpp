#pragma once
// The Sentry's OOM killer: the container's memory is used up and a page fault cannot be served.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// Kills the process with the most resident memory (SIGKILL, exit 137) and lets the others go on; the faulting task
// tries again.
void kill_for_memory(Task& faulting);

}  // namespace kvmsbx::task
