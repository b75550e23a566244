#pragma once
// From the sandbox's spec to the first instruction of the application, and the sandbox's end.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::init {

// Ends the sandbox with a line, as there is no first process. EAGAIN, ENOMEM.
[[noreturn]] void cannot_start(Errno error);
// What the spec says of the start itself, before anything asks for the time: who starts the first process, and
// linux.timeOffsets. boot_sandbox() tells where those cannot be.
void take_start_settings();
// The first task's bootstrap: sandbox, process, execve. Ends the sandbox with 125, 126 or 127 if the program cannot be
// run.
void run_first_task(task::Task& task);
// status as wait4(2) gives it.
[[noreturn]] void exit_sandbox(int status);
// kVectorHostEvent: takes the VMM's events.
void handle_host_events();

}  // namespace kvmsbx::init
