// Sending: from a SigInfo to a pending signal and a woken thread (kernel/signal.c's __send_signal and complete_signal).
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/timers.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {
namespace {

// Linux's sig_ignored(): what is blocked is kept, since the handler may change before it is unblocked.
bool is_ignored(const Task& target, const SigInfo& info) {
    // A tracer sees what is ignored, too; but SIGKILL, which it is never shown.
    if (target.blocked.has(info.signo) || (target.trace && info.signo != kSigKill)) return false;
    const uint64_t handler = target.process().actions->of(info.signo).handler;
    if (handler == kSigIgn) return true;
    if (handler != kSigDfl) return false;
    if (target.process().pid == 1 && !(info.internal & kSignalForced)) return true;
    const DefaultAction action = default_action(info.signo);
    return action == DefaultAction::kIgnore || action == DefaultAction::kContinue;
}

void wake_all_threads(Process& process) {
    for (Task& task : process.threads) interrupt_task(task);
    process.stop_queue.wake_all();
}

void remove_everywhere(Process& process, SignalSet which) {
    process.pending.remove(which);
    for (Task& task : process.threads) task.pending.remove(which);
}

void continue_process(Process& process) {
    if (!process.stopped) return;
    process.stopped = false;
    process.stop_reported = true;
    process.continue_reported = false;
    trace_job_control(process, false);
    process.stop_queue.wake_all();
    notify_parent_of_stop(process, kCldContinued, kSigCont);
}

// Stop signals and SIGCONT cancel each other; SIGCONT continues even where it is blocked or ignored (signal(7)).
void cancel_opposites(Process& process, int signal) {
    if (kStopSignals.has(signal)) {
        SignalSet cont;
        cont.add(kSigCont);
        remove_everywhere(process, cont);
    } else if (signal == kSigCont) {
        remove_everywhere(process, kStopSignals);
        continue_process(process);
    }
}

bool wants(const Task& task, int signal) {
    return !task.exiting && !task.blocked.has(signal) && (!task.process().stopped || task.resumed_by_tracer);
}

void wake_one_thread(Process& process, int signal) {
    for (Task& task : process.threads) {
        if (!wants(task, signal)) continue;
        interrupt_task(task);
        return;
    }
}

bool can_receive(const Process& process) {
    return process.state == Process::State::kAlive && !process.exiting && !process.threads.empty();
}

uint64_t queue_limit(const Process& process) { return process.limits[kRlimitSigpending].soft; }

}  // namespace

void interrupt_task(Task& task) {
    if (task.state() == sched::Thread::State::kBlocked) {
        if (task.interruptible()) sched::wake(task);
    } else if (task.state() == sched::Thread::State::kRunning && task.last_cpu && task.last_cpu != &platform::cpu()) {
        platform::kick(*task.last_cpu);
    }
}

Result<> queue_signal(Process& process, const SigInfo& info) {
    if (!can_receive(process)) return {};
    cancel_opposites(process, info.signo);
    if (is_ignored(*process.leader(), info)) return {};
    TRY(process.pending.add(info, queue_limit(process)));
    process.signal_arrived.wake_all();
    if (info.signo == kSigKill)
        wake_all_threads(process);
    else
        wake_one_thread(process, info.signo);
    return {};
}

Result<> queue_signal(Task& task, const SigInfo& info) {
    Process& process = task.process();
    if (info.signo == kSigKill) return queue_signal(process, info);
    if (!can_receive(process) || task.exiting) return {};
    cancel_opposites(process, info.signo);
    if (is_ignored(task, info)) return {};
    TRY(task.pending.add(info, queue_limit(process)));
    process.signal_arrived.wake_all();
    if (wants(task, info.signo)) interrupt_task(task);
    return {};
}

void send_signal(Process& process, const SigInfo& info) {
    ignore(queue_signal(process, info), "a full queue loses a real-time signal, which nobody can be told of here");
}
void send_signal(Task& task, const SigInfo& info) {
    ignore(queue_signal(task, info), "a full queue loses a real-time signal, which nobody can be told of here");
}

void send_signal_to_group(int32_t group, const SigInfo& info) {
    for_each_process([&](Process& process) {
        if (process.group == group) send_signal(process, info);
    });
}

SigInfo kernel_signal(int signal) {
    SigInfo info;
    info.signo = signal;
    info.code = kSiKernel;
    if (signal == kSigKill) info.internal = kSignalForced;
    return info;
}

SigInfo user_signal(const Task& sender, int signal, int code) {
    SigInfo info;
    info.signo = signal;
    info.code = code;
    info.from.pid = sender.process().pid;
    info.from.uid = sender.credentials().ruid;
    return info;
}

namespace {

SigInfo host_signal(int signal, FirstProcess first) {
    SigInfo info;
    info.signo = signal;
    info.code = kSiUser;
    const bool as_linux = first == FirstProcess::kIsSpared && !kUnblockable.has(signal);
    info.internal = as_linux ? 0 : kSignalForced;
    return info;
}

}  // namespace

void send_signal_from_host(Process& process, int signal, FirstProcess first) {
    if (signal >= 1 && signal <= kSigMax) send_signal(process, host_signal(signal, first));
}

void send_signal_from_host_to_group(int32_t group, int signal) {
    if (signal >= 1 && signal <= kSigMax) send_signal_to_group(group, host_signal(signal, FirstProcess::kCanBeEnded));
}

void force_signal(Task& task, const SigInfo& info) {
    SigInfo forced = info;
    forced.internal = kSignalForced;
    SigAction& action = task.process().actions->of(info.signo);
    const bool blocked = task.blocked.has(info.signo);
    if (blocked || action.handler == kSigIgn) {
        action.handler = kSigDfl;
        task.blocked.remove(info.signo);
    }
    send_signal(task, forced);
}

void set_blocked(Task& task, SignalSet blocked) {
    blocked.bits &= ~kUnblockable.bits;
    const uint64_t newly = blocked.bits & ~task.blocked.bits;
    task.blocked = blocked;
    // What this thread was woken for and now blocks, another one has to take.
    for (uint64_t left = task.process().pending.set.bits & newly; left; left &= left - 1)
        wake_one_thread(task.process(), __builtin_ctzll(left) + 1);
}

void hand_over_pending(Task& task) {
    for (uint64_t left = task.process().pending.set.bits & ~task.blocked.bits; left; left &= left - 1)
        wake_one_thread(task.process(), __builtin_ctzll(left) + 1);
}

void set_action(Process& process, int signal, const SigAction& action) {
    SigAction& slot = process.actions->of(signal);
    slot = action;
    slot.mask.bits &= ~kUnblockable.bits;
    const DefaultAction default_ = default_action(signal);
    const bool ignored =
        slot.handler == kSigIgn ||
        (slot.handler == kSigDfl && (default_ == DefaultAction::kIgnore || default_ == DefaultAction::kContinue));
    if (!ignored) return;
    SignalSet which;
    which.add(signal);
    remove_everywhere(process, which);
}

bool take_signal(Task& task, SignalSet wanted, SigInfo& out) {
    if (!task.pending.take(wanted, out) && !task.process().pending.take(wanted, out)) return false;
    resume_timer(task.process(), out);
    return true;
}

bool signal_ignored_or_blocked(Task& task, int signal) {
    return task.blocked.has(signal) || task.process().actions->of(signal).handler == kSigIgn;
}

Result<> check_kill_permission(const Task& sender, const Process& target, int signal) {
    if (&sender.process() == &target) return {};
    const auth::Credentials& from = sender.credentials();
    if (target.threads.empty()) return {};  // a zombie: nothing will happen to it
    const auth::Credentials& to = target.threads.front().credentials();
    if (from.euid == to.suid || from.euid == to.ruid || from.ruid == to.suid || from.ruid == to.ruid) return {};
    if (from.has(auth::Capability::kKill)) return {};
    if (signal == kSigCont && sender.process().session == target.session) return {};
    return Errno::kPERM;
}

void send_parent_death_signal(Process& child) {
    for (Task& task : child.threads)
        if (task.parent_death_signal) send_signal(child, kernel_signal(task.parent_death_signal));
}

void notify_parent_of_stop(Process& process, int code, int status) {
    Process* parent = process.parent;
    if (!parent || parent->threads.empty()) return;
    const SigAction& action = parent->actions->of(kSigChld);
    if (action.handler != kSigIgn && !(action.flags & kSaNocldstop)) {
        SigInfo info;
        info.signo = kSigChld;
        info.code = code;
        info.from.pid = process.pid;
        info.from.uid = process.leader() ? process.leader()->credentials().ruid : 0;
        info.from.status = status;
        send_signal(*parent, info);
    }
    parent->child_events.wake_all();
}

Result<> copy_siginfo_to_user(mm::AddressSpace& space, uint64_t address, const SigInfo& info) {
    SigInfo copy = info;
    copy.internal = 0;
    return mm::copy_to_user(space, address, &copy, sizeof copy);
}

}  // namespace kvmsbx::task
