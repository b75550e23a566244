// Delivery: what a thread does with its signals on the way to ring 3 (kernel/signal.c's get_signal,
// arch/x86/kernel/signal.c).
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/exit.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/rseq.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/signal_frame.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint64_t kNrRestartSyscall = 219;
constexpr uint64_t kSyscallLength = 2;

Errno restart_code(const Task& task) { return static_cast<Errno>(static_cast<int32_t>(-task.regs.rax)); }

void call_again(Task& task, uint64_t number) {
    task.regs.rax = number;
    task.regs.rip -= kSyscallLength;
    task.regs.trap = abi::kTrapNone;
}

void settle_without_handler(Task& task) {
    if (!restart_code_in_rax(task)) return;
    call_again(task, restart_code(task) == Errno::kRESTART_RESTARTBLOCK ? kNrRestartSyscall : task.in_syscall);
}

void settle_with_handler(Task& task, const SigAction& action) {
    if (!restart_code_in_rax(task)) return;
    const Errno code = restart_code(task);
    const bool again = code == Errno::kRESTARTNOINTR || (code == Errno::kRESTARTSYS && action.flags & kSaRestart);
    if (again)
        call_again(task, task.in_syscall);
    else
        task.regs.rax = -static_cast<uint64_t>(Errno::kINTR);
}

bool kill_is_pending(const Process& process) { return process.pending.set.has(kSigKill); }

void wait_while_stopped(Task& task) {
    Process& process = task.process();
    (void)process.stop_queue
        .wait(
            [&] {
                return !process.stopped || process.exiting || task.exiting || task.trace || kill_is_pending(process);
            },
            sched::Interruptible::kNo)
        .is_ok();
    if (kill_is_pending(process)) process.stopped = false;
}

void stop_process(Task& task, int signal) {
    Process& process = task.process();
    process.stopped = true;
    process.stop_signal = signal;
    process.stop_reported = false;
    process.continue_reported = true;
    trace_job_control(process, true);
    for (Task& other : process.threads) {
        if (&other != &task) interrupt_task(other);
    }
    notify_parent_of_stop(process, kCldStopped, signal);
}

// No core file is ever written, so no status says that one was.
void do_default_action(Task& task, const SigInfo& info) {
    Process& process = task.process();
    const bool spared = process.pid == 1 && !(info.internal & kSignalForced) && !kUnblockable.has(info.signo);
    if (spared) return;
    switch (default_action(info.signo)) {
        case DefaultAction::kIgnore:
        case DefaultAction::kContinue: return;
        case DefaultAction::kStop:
            if (info.signo != kSigStop && is_orphaned_group(process.group)) return;
            return stop_process(task, info.signo);
        case DefaultAction::kTerminate:
        case DefaultAction::kCore: return exit_group_by_signal(task, info.signo, false);
    }
}

void finish_handler_setup(Task& task, const SigInfo& info, const SigAction& action) {
    SignalSet blocked{task.blocked.bits | action.mask.bits};
    if (!(action.flags & kSaNodefer)) blocked.add(info.signo);
    task.restore_blocked = false;
    set_blocked(task, blocked);
}

void run_handler(Task& task, const SigInfo& info) {
    SigAction& slot = task.process().actions->of(info.signo);
    const SigAction action = slot;
    if (action.flags & kSaResethand) slot.handler = kSigDfl;
    settle_with_handler(task, action);
    rseq_before_handler(task);
    if (push_signal_frame(task, info, action).is_ok()) return finish_handler_setup(task, info, action);
    // No stack to run on: SIGSEGV, and if that is what could not be delivered, the end (force_sigsegv).
    if (info.signo == kSigSegv) task.process().actions->of(kSigSegv).handler = kSigDfl;
    force_signal(task, kernel_signal(kSigSegv));
}

}  // namespace

bool deliver_signals(Task& task) {
    Process& process = task.process();
    bool handled = false;
    for (;;) {
        if (task.exiting || process.exiting) exit_thread(task, process.exit_status);
        if (!kill_is_pending(process) && trace_group_or_interrupt(task)) continue;
        if (process.stopped && !task.resumed_by_tracer && !kill_is_pending(process)) {
            wait_while_stopped(task);
            continue;
        }
        SigInfo info;
        const SignalSet wanted{kill_is_pending(process) ? 1ULL << (kSigKill - 1) : ~task.blocked.bits};
        if (!take_signal(task, wanted, info)) break;
        if (task.trace && !trace_signal(task, info)) continue;
        const uint64_t handler = process.actions->of(info.signo).handler;
        if (handler == kSigIgn) continue;
        if (handler == kSigDfl) {
            do_default_action(task, info);
            continue;
        }
        run_handler(task, info);
        if (task.trace) trace_handler_entered(task);
        handled = true;
    }
    settle_without_handler(task);
    if (task.restore_blocked) {
        task.restore_blocked = false;
        set_blocked(task, task.saved_blocked);
    }
    arm_step(task);
    return handled;
}

}  // namespace kvmsbx::task
