#pragma once
// Entry from ring 3 and the way back.
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// Makes this vCPU's entry code call us. Once per vCPU, at start.
void install_traps(platform::Cpu& area);
// What task.regs.trap asks for. May block.
void handle_trap(Task& task);
// The task's next trap on this vCPU comes in on its own stack, with its registers in task.regs.
void enter_on_own_stack(Task& task, platform::Cpu& area);
// Handles what is pending (signals, a due switch), then runs the task's application. Kernel lock held; it is given up.
[[noreturn]] void return_to_user(Task& task);
// The system-call dispatcher (set by init: task is below syscalls).
extern void (*dispatch_system_call)(Task& task);

}  // namespace kvmsbx::task
