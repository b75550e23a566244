#pragma once
// How a process that the host starts is scheduled: process.scheduler, ioPriority and execCPUAffinity, and
// linux.personality.
#include "guestkernel/control/start_process.hpp"

namespace kvmsbx::control {

// Right before the program: nothing here needs a right of the process's. False: `failure` says which field is wrong.
bool apply_scheduling(task::Task& task, const ProcessSpec& spec, Failure& failure);

}  // namespace kvmsbx::control
