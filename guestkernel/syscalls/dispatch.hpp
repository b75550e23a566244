#pragma once
// From an application's registers to a handler and back (syscall(2), x86-64): number in rax, arguments in rdi rsi rdx
// r10 r8 r9, result or -errno in rax.
//
// A handler that a signal interrupted answers with a restart code (ERESTARTSYS and kin). dispatch leaves it in rax as
// -code; task::deliver_signals, which has to run before ring 3 sees rax, turns it into EINTR or into a second try.
// task::has_signal_work(task) is true as long as one stands there.
#include <cstdint>

namespace kvmsbx::task {
class Task;
}

namespace kvmsbx::syscalls {

// Runs the call that task.regs holds. Kernel lock held; may block. A handler may have replaced all of task.regs
// (execve, rt_sigreturn): then regs.trap is kTrapNone and rax what the handler returned.
void dispatch(task::Task& task);

// Reads from the VMM whether --strace is on; once, at start.
void init_strace();
extern bool strace_enabled;

// One line for a call that never returns (exit, exit_group), or for what has no result of its own.
void strace_call(task::Task& task, uint64_t number, const uint64_t* arguments);

// "ENOENT", "No such file or directory"; null where there is none.
const char* error_name(int error);
const char* error_text(int error);

}  // namespace kvmsbx::syscalls
