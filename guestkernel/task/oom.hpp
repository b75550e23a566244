#pragma once
// The Sentry's OOM killer: the container's memory is used up and a page fault cannot be served.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// Linux's oom_badness: pages in memory, and the process's oom_score_adj in thousandths of all memory.
inline constexpr int64_t kOomNever = INT64_MIN;  // -1000, or nothing to free
int64_t oom_badness(Process& process);

// Kills the process with the most resident memory (SIGKILL, exit 137) and lets the others go on; the faulting task
// tries again.
void kill_for_memory(Task& faulting);

}  // namespace kvmsbx::task
