#pragma once
// ptrace(2). Model:
// - A traced task (tracee) has a Trace; the tracer is a task, which lists its tracees. Both hold a reference to the
//   Trace, which outlives a tracee that ended until the tracer has waited for it.
// - A tracee stops inside trace_stop only: at system calls (dispatch), before a signal is delivered, at events (clone,
//   exec, exit) and for group stops and PTRACE_INTERRUPT (deliver_signals). All of its registers are in Task::regs and
//   Task::fpu_area then, because it is switched out; the tracer reads and writes them there.
// - It goes on when the tracer resumes or lets go of it, when the tracer ends, or when it is killed.
// - Single steps: the trap flag is put into rflags on the way to ring 3 only (arm_step) and taken out at the next stop,
//   so that neither tracer nor signal frames see it.
// - An untraced task pays for all of this with Task::trace_work and kWatchTracer in Task::call_watchers, which are
//   looked at where others are, and with a look at Task::trace at the end of each call.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// PTRACE_O_* and PTRACE_EVENT_*.
inline constexpr uint32_t kTraceSysgood = 1, kTraceExitkill = 1U << 20, kTraceOptions = 0x1000ff;
enum class TraceEvent : uint8_t { kNone, kFork, kVfork, kClone, kExec, kVforkDone, kExit, kSeccomp, kStop = 128 };

enum class TraceResume : uint8_t { kContinue, kSyscall, kStep };

class Trace : public RefCounted {
  public:
    Task* tracer = nullptr;  // null: let go
    Task* tracee = nullptr;  // null: ended
    int32_t tid = 0;
    bool seized = false;
    uint32_t options = 0;

    bool stopped = false;
    bool reported = false;    // wait(2) told of the present stop
    bool listening = false;   // PTRACE_LISTEN
    bool group_stop = false;  // the present stop is one
    int32_t stop_code = 0;    // signal, and event in the second byte
    SigInfo info;
    bool has_info = false;
    uint64_t message = 0;
    enum class Call : uint8_t { kNone, kEntry, kExit, kSeccomp } call = Call::kNone;  // PTRACE_GET_SYSCALL_INFO

    TraceResume resume = TraceResume::kContinue;
    int32_t resume_signal = 0;
    bool interrupt = false;   // PTRACE_INTERRUPT, or a group stop began or ended
    bool step_armed = false;  // rflags.TF is ours
    bool ended = false;       // waits to be waited for
    int32_t exit_status = 0;
    uint32_t uid = 0;

    ListHook hook;  // tracer's list
};
using TraceList = List<Trace, &Trace::hook>;

// Becomes a tracee of `tracer`. ENOMEM; EPERM if it is one already.
Result<> attach_trace(Task& tracee, Task& tracer, bool seized, uint32_t options);
void detach_trace(Task& tracee);
// Resumes a stopped tracee.
void resume_trace(Trace& trace, TraceResume how, int32_t signal);
// A thread ends: as a tracer it lets go of its tracees, as a tracee it leaves its end to be waited for.
void end_tracing(Task& task, int32_t status);
void trace_exit_event(Task& task, int32_t status);
// Tracees of a tracer; null: none.
TraceList* tracees_of(Task& tracer);

// Stops until the tracer says how to go on; false: not traced (any more), or killed.
bool trace_stop(Task& task, int32_t code, const SigInfo* info);
bool wants_event(const Task& task, TraceEvent event);
void trace_event(Task& task, TraceEvent event, uint64_t message);
// A new child of a traced parent; the event that it means, kNone: it is not traced.
TraceEvent trace_child(Task& parent, Task& child, uint64_t flags, int exit_signal);
// execve(2) succeeded.
void trace_exec(Task& task, int32_t old_tid);

// Before a signal is delivered; false: it is not to be.
bool trace_signal(Task& task, SigInfo& info);
// Group stops, PTRACE_INTERRUPT. True if it stopped.
bool trace_group_or_interrupt(Task& task);
// A handler's frame is set up: a single step ends there.
void trace_handler_entered(Task& task);
// On the way to ring 3.
void arm_step(Task& task);
// The process stops or continues by job control.
void trace_job_control(Process& process, bool stops);

// System-call stops. The tracer may change Task::in_syscall and the arguments; false: skip the call.
bool trace_syscall_entry(Task& task);
void trace_syscall_exit(Task& task);
// SECCOMP_RET_TRACE, with the filter's 16 bits as the event's message. ENOSYS: no tracer wants it. Else as
// trace_syscall_entry.
Result<bool> trace_seccomp(Task& task, uint32_t data);

// ptrace_may_access. EPERM.
enum class TraceAccess : uint8_t { kReal, kFileSystem };  // which of the caller's ids count
Result<> may_trace(const Task& caller, const Task& target, TraceAccess ids);
// Set-id bits do not count for a program that is traced by one who could not do the same.
bool trace_forbids_setid(const Task& task);

}  // namespace kvmsbx::task
