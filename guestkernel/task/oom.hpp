#pragma once
// The Sentry's OOM killer: the container's memory is used up and a page fault cannot be served.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// Linux's oom_badness: pages in memory, and the process's oom_score_adj in thousandths of all memory.
inline constexpr int64_t kOomNever = INT64_MIN;  // -1000, or nothing to free
int64_t oom_badness(Process& process);

uint64_t oom_kills();  // so far

// From now on a page fault that finds no memory, of an application or of a call that uses its memory, kills the process
// with the most badness (SIGKILL, exit 137) and is tried again.
void install_oom_killer();

}  // namespace kvmsbx::task
