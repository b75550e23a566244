#pragma once
// How tasks end. Statuses are as wait4(2) gives them: code << 8, or signal | 0x80 (core).
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// Ends the calling task; the last one of a process makes it a zombie. Never returns.
[[noreturn]] void exit_thread(Task& task, int status);
// Marks the process of `task` as exiting with `status` and wakes all its threads so that each ends on its way to
// ring 3. Returns; a second call changes nothing.
void exit_group(Task& task, int status);
void exit_group_by_signal(Task& task, int signal, bool core);

}  // namespace kvmsbx::task
