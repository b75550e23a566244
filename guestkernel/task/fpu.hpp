#pragma once
// A task's FPU, SSE and AVX state. While the task runs (Sentry code included) it is live in the vCPU's registers;
// task.fpu_area is a copy.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// Makes task.fpu_area (standard XSAVE format, boot_info().fpu_area_size bytes) current. For the calling task.
void fpu_to_area(Task& task);
// task.fpu_area was changed: it is loaded before the task runs again. The content must be valid for XRSTOR
// (platform::restore_fpu).
void fpu_area_changed(Task& task);

// For a new task: an area with a new program's state, or the parent's. ENOMEM.
Result<> allocate_fpu(Task& task);
Result<> copy_fpu(Task& parent, Task& child);
// execve(2): the state of a new program.
void reset_fpu(Task& task);
// Makes the vCPU's registers this task's, on the way to ring 3.
void load_fpu(Task& task);
void free_fpu(Task& task);

}  // namespace kvmsbx::task
