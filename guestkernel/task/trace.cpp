#include "guestkernel/task/trace.hpp"

#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint64_t kFlagTrap = 0x100;

constexpr int32_t kExitStop = kSigTrap | static_cast<int32_t>(TraceEvent::kExit) << 8;

bool is_killed(const Task& task) {
    return task.exiting || task.process().exiting || task.process().pending.set.has(kSigKill);
}

// The tracer set the call's number to -1.
bool is_call_skipped(const Task& task) { return static_cast<int32_t>(task.in_syscall) == -1; }

void update_flags(Task& task) {
    const Trace* trace = task.trace.get();
    const bool calls = trace && (trace->resume != TraceResume::kContinue);
    if (calls)
        task.call_watchers |= kWatchTracer;
    else
        task.call_watchers &= static_cast<uint8_t>(~kWatchTracer);
    task.trace_work = trace && trace->interrupt;
    task.step_work = trace && trace->resume == TraceResume::kStep;
}

// SIGCHLD with CLD_TRAPPED, and wait(2).
void notify_tracer(Trace& trace) {
    Process& process = trace.tracer->process();
    const SigAction& action = process.actions->of(kSigChld);
    if (action.handler != kSigIgn && !(action.flags & kSaNocldstop)) {
        SigInfo info;
        info.signo = kSigChld;
        info.code = kCldTrapped;
        info.from.pid = trace.tid;
        info.from.uid = trace.tracee ? trace.tracee->credentials().ruid : trace.uid;
        info.from.status = trace.stop_code;
        send_signal(process, info);
    }
    process.child_events.wake_all();
}

void disarm_step(Task& task) {
    if (!task.trace || !task.trace->step_armed) return;
    task.trace->step_armed = false;
    task.regs.rflags &= ~kFlagTrap;
}

void unlink(Trace& trace) {
    if (!trace.hook.is_linked()) return;
    trace.hook.unlink();
    trace.tracer = nullptr;
    trace.unref();
}

// The tracer's list holds a reference.
void link(Trace& trace, Task& tracer) {
    trace.tracer = &tracer;
    trace.ref();
    tracees_of(tracer)->push_back(trace);
}

SigInfo trap_info(const Task& task, int32_t code) {
    SigInfo info;
    info.signo = kSigTrap;
    info.code = code;
    info.from.pid = task.tid;
    info.from.uid = task.credentials().ruid;
    return info;
}

}  // namespace

TraceList* tracees_of(Task& tracer) { return static_cast<TraceList*>(tracer.tracees); }

Result<> attach_trace(Task& tracee, Task& tracer, bool seized, uint32_t options) {
    if (tracee.trace) return Errno::kPERM;
    if (!tracer.tracees) {
        tracer.tracees = new (std::nothrow) TraceList;
        if (!tracer.tracees) return Errno::kNOMEM;
    }
    auto trace = TRY(make_ref<Trace>());
    trace->tracee = &tracee;
    trace->tid = tracee.tid;
    trace->seized = seized;
    trace->options = options;
    link(*trace, tracer);
    tracee.trace = std::move(trace);
    return {};
}

void detach_trace(Task& tracee) {
    RefPtr<Trace> trace = tracee.trace;
    if (!trace) return;
    disarm_step(tracee);
    tracee.trace = nullptr;
    trace->stopped = false;
    unlink(*trace);
    tracee.resumed_by_tracer = false;
    update_flags(tracee);
    tracee.process().stop_queue.wake_all();
}

void resume_trace(Trace& trace, TraceResume how, int32_t signal) {
    Task& tracee = *trace.tracee;
    if (trace.group_stop) tracee.resumed_by_tracer = true;
    trace.stopped = trace.listening = false;
    trace.resume = how;
    trace.resume_signal = signal;
    update_flags(tracee);
    tracee.process().stop_queue.wake_all();
}

void end_tracing(Task& task, int32_t status) {
    if (RefPtr<Trace> trace = task.trace) {
        task.trace = nullptr;
        trace->tracee = nullptr;
        trace->stopped = false;
        Task* tracer = trace->tracer;
        // The parent hears of a process's end by itself.
        const bool alone = task.process().threads.size() == 1 || task.tid == task.process().pid;
        const bool by_parent = tracer && &tracer->process() == task.process().parent;
        if (!tracer || (alone && by_parent && task.tid == task.process().pid)) {
            unlink(*trace);
        } else {
            trace->ended = true;
            trace->exit_status = status;
            trace->uid = task.credentials().ruid;
            trace->tid = task.tid;
            notify_tracer(*trace);
        }
    }
    TraceList* list = tracees_of(task);
    if (!list) return;
    while (!list->empty()) {
        RefPtr<Trace> trace(list->front());
        Task* tracee = trace->tracee;
        if (!tracee) {
            unlink(*trace);
            continue;
        }
        const bool kills = trace->options & kTraceExitkill;
        // The signal that it stopped for is delivered.
        if (trace->stopped && trace->stop_code <= kSigMax && !trace->group_stop)
            trace->resume_signal = trace->call == Trace::Call::kNone ? trace->stop_code : 0;
        detach_trace(*tracee);
        if (kills) send_signal(*tracee, kernel_signal(kSigKill));
    }
    delete list;
    task.tracees = nullptr;
}

bool trace_stop(Task& task, int32_t code, const SigInfo* info) {
    RefPtr<Trace> trace = task.trace;
    const bool dies = code == kExitStop;
    if (!trace || !trace->tracer || (is_killed(task) && !dies)) return false;
    disarm_step(task);
    trace->stop_code = code;
    trace->has_info = info != nullptr;
    if (info) trace->info = *info;
    trace->stopped = true;
    trace->reported = trace->listening = false;
    trace->resume_signal = 0;
    notify_tracer(*trace);
    (void)task.process()
        .stop_queue
        .wait(
            [&] {
                // An exit event may be that of a killed task: only another SIGKILL ends it.
                const bool killed = dies ? task.process().pending.set.has(kSigKill) : is_killed(task);
                return !trace->stopped || killed || (trace->listening && trace->interrupt);
            },
            sched::Interruptible::kNo)
        .is_ok();
    const bool resumed = !trace->stopped && trace->tracer;
    trace->stopped = trace->listening = trace->group_stop = false;
    trace->call = Trace::Call::kNone;
    return resumed && (dies || !is_killed(task));
}

bool wants_event(const Task& task, TraceEvent event) {
    return task.trace && (task.trace->options >> static_cast<unsigned>(event) & 1);
}

void trace_event(Task& task, TraceEvent event, uint64_t message) {
    if (!wants_event(task, event)) return;
    task.trace->message = message;
    const int32_t code = kSigTrap | static_cast<int32_t>(event) << 8;
    const SigInfo info = trap_info(task, code);
    RefPtr<Trace> trace = task.trace;
    (void)trace_stop(task, code, &info);
    // A signal given on resume is sent as if by the tracer's kill(2).
    if (trace->resume_signal && trace->tracer && trace->tracee)
        send_signal(task, user_signal(*trace->tracer, trace->resume_signal, kSiUser));
}

TraceEvent trace_child(Task& parent, Task& child, uint64_t flags, int exit_signal) {
    if (!parent.trace || !parent.trace->tracer || (flags & kCloneUntraced)) return TraceEvent::kNone;
    const TraceEvent event = flags & kCloneVfork       ? TraceEvent::kVfork
                             : exit_signal != kSigChld ? TraceEvent::kClone
                                                       : TraceEvent::kFork;
    const bool wanted = wants_event(parent, event);
    if (!wanted && !(flags & kClonePtrace)) return TraceEvent::kNone;
    const Trace& trace = *parent.trace;
    if (attach_trace(child, *trace.tracer, trace.seized, trace.options).is_error()) return TraceEvent::kNone;
    if (trace.seized) {
        child.trace->interrupt = true;
    } else {
        SigInfo info;
        info.signo = kSigStop;
        MUST(child.pending.add(info));
    }
    update_flags(child);
    return wanted ? event : TraceEvent::kNone;
}

void trace_exec(Task& task, int32_t old_tid) {
    if (!task.trace) return;
    task.trace->tid = task.tid;
    if (wants_event(task, TraceEvent::kExec))
        return trace_event(task, TraceEvent::kExec, static_cast<uint64_t>(old_tid));
    if (task.trace->seized) return;
    SigInfo info = user_signal(task, kSigTrap, kSiUser);
    send_signal(task, info);
}

void trace_exit_event(Task& task, int32_t status) {
    if (!wants_event(task, TraceEvent::kExit)) return;
    trace_event(task, TraceEvent::kExit, static_cast<uint64_t>(status));
}

bool trace_signal(Task& task, SigInfo& info) {
    if (!task.trace || info.signo == kSigKill) return true;
    RefPtr<Trace> trace = task.trace;
    SigInfo shown = info;
    shown.internal = 0;
    (void)trace_stop(task, info.signo, &shown);
    if (!trace->tracee) return false;
    const bool killed = is_killed(task);
    const int32_t signal = killed ? 0 : trace->resume_signal;
    if (killed || signal == 0) return false;
    const int32_t internal = info.internal;
    if (signal == info.signo) {
        info = trace->info;  // PTRACE_SETSIGINFO
        info.internal = internal;
    } else {
        info = trace->tracer ? user_signal(*trace->tracer, signal, kSiUser) : user_signal(task, signal, kSiUser);
    }
    info.signo = signal;
    if (!task.blocked.has(signal)) return true;
    ignore(task.pending.add(info), "a real-time signal that there is no memory for is lost");
    return false;
}

bool trace_group_or_interrupt(Task& task) {
    if (!task.trace) return false;
    Process& process = task.process();
    Trace& trace = *task.trace;
    const bool group = process.stopped && !task.resumed_by_tracer;
    if (!trace.interrupt && !group) return false;
    if (trace.interrupt) {
        trace.interrupt = false;
        update_flags(task);
    }
    if (!trace.seized) {
        if (!group) return false;
        trace.group_stop = true;
        (void)trace_stop(task, process.stop_signal, nullptr);
        return true;
    }
    trace.group_stop = process.stopped;
    const int32_t signal = process.stopped ? process.stop_signal : static_cast<int32_t>(kSigTrap);
    const int32_t code = signal | static_cast<int32_t>(TraceEvent::kStop) << 8;
    trace.message = process.stopped ? 1 : 0;
    const SigInfo info = trap_info(task, code);
    (void)trace_stop(task, code, &info);
    return true;
}

void trace_handler_entered(Task& task) {
    if (!task.trace || task.trace->resume != TraceResume::kStep) return;
    const SigInfo info = trap_info(task, kSigTrap);
    (void)trace_stop(task, kSigTrap, &info);
}

void arm_step(Task& task) {
    if (!task.trace || !task.step_work) return;
    if (task.trace->resume == TraceResume::kStep && !(task.regs.rflags & kFlagTrap)) {
        // SYSRET with TF would trap before the first instruction.
        if (task.regs.trap == abi::kTrapSyscall) {
            task.regs.rcx = task.regs.rip, task.regs.r11 = task.regs.rflags;
            task.regs.trap = abi::kTrapNone;
        }
        task.regs.rflags |= kFlagTrap;
        task.trace->step_armed = true;
    }
    task.step_work = false;
}

void trace_job_control(Process& process, bool stops) {
    for (Task& task : process.threads) {
        task.resumed_by_tracer = false;
        if (!task.trace || !task.trace->seized || stops) continue;
        task.trace->interrupt = true;
        update_flags(task);
        interrupt_task(task);
    }
}

bool trace_syscall_entry(Task& task) {
    if (!task.trace || task.trace->resume != TraceResume::kSyscall) return true;
    RefPtr<Trace> trace = task.trace;
    task.regs.rax = -static_cast<uint64_t>(Errno::kNOSYS);
    trace->call = Trace::Call::kEntry;
    const int32_t code = kSigTrap | (trace->options & kTraceSysgood ? 0x80 : 0);
    const SigInfo info = trap_info(task, code);
    trace->message = 1;
    (void)trace_stop(task, code, &info);
    if (trace->resume_signal && trace->tracer)
        send_signal(task, user_signal(*trace->tracer, trace->resume_signal, kSiUser));
    return !is_killed(task) && !is_call_skipped(task);
}

Result<bool> trace_seccomp(Task& task, uint32_t data) {
    if (!wants_event(task, TraceEvent::kSeccomp)) return Errno::kNOSYS;
    task.regs.rax = -static_cast<uint64_t>(Errno::kNOSYS);
    task.trace->call = Trace::Call::kSeccomp;
    trace_event(task, TraceEvent::kSeccomp, data);
    return !is_killed(task) && !is_call_skipped(task);
}

void trace_syscall_exit(Task& task) {
    if (!task.trace || task.trace->resume == TraceResume::kContinue || task.process().exiting) return;
    RefPtr<Trace> trace = task.trace;
    if (trace->resume == TraceResume::kStep) {
        // The step was the SYSCALL instruction.
        SigInfo info;
        info.signo = kSigTrap;
        info.code = kTrapBrkpt;
        info.fault.address = task.regs.rip;
        return force_signal(task, info);
    }
    trace->call = Trace::Call::kExit;
    const int32_t code = kSigTrap | (trace->options & kTraceSysgood ? 0x80 : 0);
    const SigInfo info = trap_info(task, code);
    trace->message = 2;
    (void)trace_stop(task, code, &info);
    if (trace->resume_signal && trace->tracer)
        send_signal(task, user_signal(*trace->tracer, trace->resume_signal, kSiUser));
}

Result<> may_trace(const Task& caller, const Task& target, TraceAccess ids) {
    if (&caller.process() == &target.process()) return {};
    const auth::Credentials &mine = caller.credentials(), &theirs = target.credentials();
    const bool privileged = mine.has(auth::Capability::kSysPtrace);
    const auto uid = ids == TraceAccess::kReal ? mine.ruid : mine.fsuid;
    const auto gid = ids == TraceAccess::kReal ? mine.rgid : mine.fsgid;
    const bool same = uid == theirs.euid && uid == theirs.suid && uid == theirs.ruid && gid == theirs.egid &&
                      gid == theirs.sgid && gid == theirs.rgid;
    if (!same && !privileged) return Errno::kPERM;
    if (target.process().dumpable != 1 && !privileged) return Errno::kPERM;
    if ((theirs.permitted.bits & ~mine.permitted.bits) && !privileged) return Errno::kPERM;
    return {};
}

bool trace_forbids_setid(const Task& task) {
    if (!task.trace || !task.trace->tracer) return false;
    return !task.trace->tracer->credentials().has(auth::Capability::kSysPtrace);
}

}  // namespace kvmsbx::task
