#pragma once
// Which program a process runs, by runc's rules, and the words for what can be wrong with it. Engines look for these
// words.
#include "guestkernel/control/failure.hpp"
#include "guestkernel/task/life.hpp"

namespace kvmsbx::control {

// Sets request.base and path by its first argument: a name with a slash is a path from the working directory, others
// are looked for in PATH of its environment. False: `failure` says why there is none that the task may execute.
bool find_program(task::Task& task, task::ExecRequest& request, Failure& failure);

// The program was there, but execve(2) fails. Gives false.
bool cannot_execute(std::string_view program, Errno error, Failure& failure);

}  // namespace kvmsbx::control
