#pragma once
// Signals between being sent and being handled. Model:
// - A signal waits in Process::pending (any thread may take it) or Task::pending (that thread only). Sending
//   (signal_send.cpp) drops what is ignored, undoes what stop signals and SIGCONT cancel of each other, and wakes one
//   thread that does not block it. SIGKILL wakes all.
// - A thread takes signals on its way to ring 3 only: trap handling calls deliver_signals when has_signal_work says so.
//   There default actions happen, stopped threads wait, handler frames are built (signal_frame.cpp) and interrupted
//   system calls are settled.
// - A blocked thread is interruptible when has_pending_signal is true: Task::interrupted() asks it.
// - pid 1 is spared default actions of signals from inside (as Linux spares a namespace's init), unless a fault, the
//   host or pid 1 itself sends them (kSignalForced).
// All with the kernel lock held; only deliver_signals blocks.
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

[[gnu::always_inline]] inline uint64_t pending_unblocked(const Task& task) {
    return (task.pending.set.bits | task.process().pending.set.bits) & ~task.blocked.bits;
}

// What ends interruptible waits.
[[gnu::always_inline]] inline bool has_pending_signal(const Task& task) {
    return pending_unblocked(task) != 0 || task.exiting || task.process().exiting || task.trace_work ||
           (task.process().stopped && !task.resumed_by_tracer);
}

// rax holds a restart code of the call that ends now.
[[gnu::always_inline]] inline bool restart_code_in_rax(const Task& task) {
    return task.regs.trap == abi::kTrapSyscall && task.regs.rax + 516 <= 516 - 512;
}

// Must be asked on every way back to ring 3; if true, deliver_signals must run.
[[gnu::always_inline]] inline bool has_signal_work(const Task& task) {
    return pending_unblocked(task) != 0 || task.return_work || task.process().exiting ||
           (task.process().stopped && !task.resumed_by_tracer) || restart_code_in_rax(task);
}

// Handles all that is pending. Ends the thread if it has to. True if a handler will run.
bool deliver_signals(Task& task);

// regs.trap is an exception (0..31, not #PF, which mm decides): sends the signal that Linux sends for it.
void deliver_exception(Task& task);
// A page fault that mm refused, or a user-memory error with a signal of its own.
void send_fault_signal(Task& task, int signal, int code, uint64_t address);

// Makes the thread look at what it has to do before ring 3: ends an interruptible wait, or interrupts the application
// on another vCPU.
void interrupt_task(Task& task);

// Whether a signal without a handler ends pid 1. Linux spares it, but for SIGKILL and SIGSTOP from outside; a user who
// presses ^C in front of a sandbox wants it to end.
enum class FirstProcess : bool { kIsSpared, kCanBeEnded };
// From outside the sandbox.
void send_signal_from_host(Process& process, int signal, FirstProcess first);
// To the foreground group of a terminal.
void send_signal_from_host_to_group(int32_t group, int signal);

// Sends with a queue limit: EAGAIN (sigqueue(3) beyond RLIMIT_SIGPENDING).
Result<> queue_signal(Process& process, const SigInfo& info);
Result<> queue_signal(Task& task, const SigInfo& info);

// sigprocmask(2) and kin: SIGKILL and SIGSTOP are left out; hands process signals that it now blocks to another thread.
void set_blocked(Task& task, SignalSet blocked);
// The thread will take no more signals: others must.
void hand_over_pending(Task& task);
// Sets an action; what is pending and now ignored is dropped (sigaction(2)).
void set_action(Process& process, int signal, const SigAction& action);
// Takes a pending signal of `wanted` (blocked or not). False if there is none.
bool take_signal(Task& task, SignalSet wanted, SigInfo& out);

// kill(2)'s rule. EPERM.
Result<> check_kill_permission(const Task& sender, const Process& target, int signal);
SigInfo user_signal(const Task& sender, int signal, int code);

// The parent of `child` ends: its threads that asked (PR_SET_PDEATHSIG) get their signal.
void send_parent_death_signal(Process& child);

// SIGCHLD with CLD_STOPPED or CLD_CONTINUED to the parent, unless it does not want it; wakes its wait4.
void notify_parent_of_stop(Process& process, int code, int status);

// Copies to the application. EFAULT.
Result<> copy_siginfo_to_user(mm::AddressSpace& space, uint64_t address, const SigInfo& info);

}  // namespace kvmsbx::task
