#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/syscalls/handlers_signal.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::syscalls {

using namespace task;

namespace {

constexpr size_t kSetSize = sizeof(uint64_t);

bool valid_signal(int signal) { return signal >= 0 && signal <= kSigMax; }

// Signal 0 only asks whether one could be sent.
Result<> send_checked(Task& sender, Process& target, const SigInfo& info) {
    if (!valid_signal(info.signo)) return Errno::kINVAL;
    TRY(check_kill_permission(sender, target, info.signo));
    if (info.signo == 0) return {};
    return queue_signal(target, info);
}

Result<> send_checked(Task& sender, Task& target, const SigInfo& info) {
    if (!valid_signal(info.signo)) return Errno::kINVAL;
    TRY(check_kill_permission(sender, target.process(), info.signo));
    if (info.signo == 0) return {};
    return queue_signal(target, info);
}

// A process by the number of any of its threads.
Process* process_of(int32_t id) {
    if (Process* process = find_process(id)) return process;
    Task* task = find_task(id);
    return task ? &task->process() : nullptr;
}

// What a process sends to itself counts for pid 1, too: `run` ends with 128+N like the program anywhere else (Linux's
// init would ignore it). Not for stops, which nobody could end.
SigInfo direct(const Task& sender, const Process& target, SigInfo info) {
    const bool stops = info.signo > 0 && info.signo <= kSigMax && kStopSignals.has(info.signo);
    if (&sender.process() == &target && !stops) info.internal = kSignalForced;
    return info;
}

Result<> kill_one(Task& sender, int32_t pid, const SigInfo& info) {
    Process* process = process_of(pid);
    if (!process) return Errno::kSRCH;
    return send_checked(sender, *process, direct(sender, *process, info));
}

// ESRCH for an empty group; 0 if one could be signalled; else the last error.
Result<> kill_group(Task& sender, int32_t group, const SigInfo& info) {
    bool success = false;
    Errno last = Errno::kSRCH;
    for_each_process([&](Process& process) {
        if (process.group != group) return;
        auto result = send_checked(sender, process, info);
        if (result.is_ok())
            success = true;
        else
            last = result.error();
    });
    if (success) return {};
    return last;
}

// All but pid 1 and the caller's own process.
Result<> kill_all(Task& sender, const SigInfo& info) {
    bool any = false;
    Errno last{};
    for_each_process([&](Process& process) {
        if (process.pid <= 1 || &process == &sender.process()) return;
        any = true;
        auto result = send_checked(sender, process, info);
        if (result.is_error() && result.error() != Errno::kPERM) last = result.error();
    });
    if (!any) return Errno::kSRCH;
    if (last != Errno{}) return last;
    return {};
}

Result<> kill_thread(Task& sender, int32_t group, int32_t tid, const SigInfo& info) {
    Task* target = find_task(tid);
    if (!target || (group > 0 && target->process().pid != group)) return Errno::kSRCH;
    return send_checked(sender, *target, direct(sender, target->process(), info));
}

}  // namespace

Result<> signal_process(Task& sender, Process& target, const SigInfo& info) {
    return send_checked(sender, target, direct(sender, target, info));
}
Result<> signal_thread(Task& sender, Task& target, const SigInfo& info) {
    return send_checked(sender, target, direct(sender, target.process(), info));
}
Result<> signal_group(Task& sender, int32_t group, const SigInfo& info) { return kill_group(sender, group, info); }

namespace {

Result<SigInfo> load_info(Task& task, UserIn<SigInfo> from, int signal) {
    SigInfo info = TRY(from.load(task.space()));
    info.signo = signal;
    info.internal = 0;
    return info;
}

// Only a process itself may claim that the kernel or kill(2) sent it something.
bool claims_foreign_origin(const SigInfo& info) { return info.code >= 0 || info.code == kSiTkill; }

}  // namespace

Result<int64_t> sys_rt_sigaction(Task& task, SignalNumber signal, UserIn<SigAction> action, UserOut<SigAction> old,
                                 size_t set_size) {
    constexpr uint64_t kKnownFlags = kSaNocldstop | kSaNocldwait | kSaSiginfo | kSaRestorer | kSaOnstack | kSaRestart |
                                     kSaNodefer | kSaResethand | 0x800;
    if (set_size != kSetSize) return Errno::kINVAL;
    SigAction wanted;
    if (action) wanted = TRY(action.load(task.space()));
    if (signal < 1 || signal > kSigMax || (action && kUnblockable.has(signal))) return Errno::kINVAL;
    const SigAction before = task.process().actions->of(signal);
    if (action) {
        wanted.flags &= kKnownFlags;
        set_action(task.process(), signal, wanted);
    }
    if (old) TRY(old.store(task.space(), before));
    return 0;
}

Result<int64_t> sys_rt_sigprocmask(Task& task, int32_t how, UserIn<uint64_t> set, UserOut<uint64_t> old,
                                   size_t set_size) {
    if (set_size != kSetSize) return Errno::kINVAL;
    const uint64_t before = task.blocked.bits;
    if (set) {
        const uint64_t bits = TRY(set.load(task.space()));
        switch (how) {
            case 0: set_blocked(task, SignalSet{before | bits}); break;
            case 1: set_blocked(task, SignalSet{before & ~bits}); break;
            case 2: set_blocked(task, SignalSet{bits}); break;
            default: return Errno::kINVAL;
        }
    }
    if (old) TRY(old.store(task.space(), before));
    return 0;
}

Result<int64_t> sys_rt_sigreturn(Task& task) {
    task.restart.resume = nullptr;
    if (pop_signal_frame(task).is_error()) {
        task.regs.trap = abi::kTrapNone;
        force_signal(task, kernel_signal(kSigSegv));
        return 0;
    }
    return static_cast<int64_t>(task.regs.rax);
}

Result<int64_t> sys_pause(Task& task) {
    while (!has_pending_signal(task)) sched::block(sched::Interruptible::kYes);
    return Errno::kRESTARTNOHAND;
}

Result<int64_t> sys_rt_sigsuspend(Task& task, UserIn<uint64_t> set, size_t set_size) {
    if (set_size != kSetSize) return Errno::kINVAL;
    const uint64_t bits = TRY(set.load(task.space()));
    task.saved_blocked = task.blocked;
    task.restore_blocked = true;
    set_blocked(task, SignalSet{bits});
    return sys_pause(task);
}

Result<int64_t> sys_kill(Task& task, Pid pid, SignalNumber signal) {
    const SigInfo info = user_signal(task, signal, kSiUser);
    if (pid > 0)
        TRY(kill_one(task, pid, info));
    else if (pid == 0)
        TRY(kill_group(task, task.process().group, info));
    else if (pid == -1)
        TRY(kill_all(task, info));
    else if (pid == INT32_MIN)
        return Errno::kSRCH;
    else
        TRY(kill_group(task, -pid, info));
    return 0;
}

Result<int64_t> sys_tkill(Task& task, Pid tid, SignalNumber signal) {
    if (tid <= 0) return Errno::kINVAL;
    TRY(kill_thread(task, 0, tid, user_signal(task, signal, kSiTkill)));
    return 0;
}

Result<int64_t> sys_tgkill(Task& task, Pid group, Pid tid, SignalNumber signal) {
    if (tid <= 0 || group <= 0) return Errno::kINVAL;
    TRY(kill_thread(task, group, tid, user_signal(task, signal, kSiTkill)));
    return 0;
}

Result<int64_t> sys_rt_sigqueueinfo(Task& task, Pid pid, SignalNumber signal, UserIn<SigInfo> info) {
    const SigInfo loaded = TRY(load_info(task, info, signal));
    if (claims_foreign_origin(loaded) && pid != task.process().pid) return Errno::kPERM;
    TRY(kill_one(task, pid, loaded));
    return 0;
}

Result<int64_t> sys_rt_tgsigqueueinfo(Task& task, Pid group, Pid tid, SignalNumber signal, UserIn<SigInfo> info) {
    const SigInfo loaded = TRY(load_info(task, info, signal));
    if (tid <= 0 || group <= 0) return Errno::kINVAL;
    if (claims_foreign_origin(loaded) && tid != task.tid) return Errno::kPERM;
    TRY(kill_thread(task, group, tid, loaded));
    return 0;
}

Result<int64_t> sys_rt_sigpending(Task& task, UserOut<uint64_t> set, size_t set_size) {
    if (set_size > kSetSize) return Errno::kINVAL;
    const uint64_t bits = (task.pending.set.bits | task.process().pending.set.bits) & task.blocked.bits;
    TRY(mm::copy_to_user(task.space(), set.address, &bits, set_size));
    return 0;
}

Result<int64_t> sys_rt_sigtimedwait(Task& task, UserIn<uint64_t> set, UserOut<SigInfo> out, UserIn<TimeSpec> timeout,
                                    size_t set_size) {
    if (set_size != kSetSize) return Errno::kINVAL;
    SignalSet wanted{TRY(set.load(task.space())) & ~kUnblockable.bits};
    sched::Nanoseconds deadline = sched::kNever;
    if (timeout) {
        const TimeSpec t = TRY(timeout.load(task.space()));
        if (!is_valid(t)) return Errno::kINVAL;
        deadline = saturating_add(sched::now(), to_nanoseconds(t));
    }
    SigInfo info;
    auto waited = task.process().signal_arrived.wait([&] { return take_signal(task, wanted, info); },
                                                     sched::Interruptible::kYes, deadline);
    if (waited.is_error()) return waited.error() == Errno::kTIMEDOUT ? Errno::kAGAIN : Errno::kINTR;
    if (out) TRY(copy_siginfo_to_user(task.space(), out.address, info));
    return info.signo;
}

Result<int64_t> sys_sigaltstack(Task& task, UserIn<SigAltStack> stack, UserOut<SigAltStack> old) {
    const SigAltStack before = alternate_stack(task, task.regs.rsp);
    if (stack) {
        const SigAltStack wanted = TRY(stack.load(task.space()));
        TRY(set_alternate_stack(task, wanted, task.regs.rsp, kMinSignalStack));
    }
    if (old) TRY(old.store(task.space(), before));
    return 0;
}

Result<int64_t> sys_restart_syscall(Task& task) {
    auto resume = task.restart.resume;
    if (!resume) return Errno::kINTR;
    return resume(task);
}

}  // namespace kvmsbx::syscalls
