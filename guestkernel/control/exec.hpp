#pragma once
// control::Exec: processes beside the first. Each has no parent in the sandbox; the Exec's id names it until it has
// ended.
#include "guestkernel/control/frames.hpp"
#include "guestkernel/fs/console.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::control {

// Makes the process, which goes on by itself: it answers Started or Failed, and Exited at its end. Takes the frame's
// streams.
void start_exec(InFrame frame);

// Null: there is none, or it has ended.
task::Process* exec_process(uint64_t id);
// Null: it has no terminal.
fs::ConsoleTerminal* exec_terminal(uint64_t id);

}  // namespace kvmsbx::control
