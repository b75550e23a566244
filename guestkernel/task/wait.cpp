// wait4(2), waitid(2).
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {
namespace {

bool matches(const Process& child, const WaitRequest& request) {
    if (request.which == WaitRequest::Which::kPid && child.pid != request.id) return false;
    if (request.which == WaitRequest::Which::kGroup && child.group != request.id) return false;
    if (request.options & kWall) return true;
    return (child.exit_signal != kSigChld) == ((request.options & kWclone) != 0);
}

uint32_t uid_of(Process& child) { return child.last_uid; }

bool take_zombie(Process& child, const WaitRequest& request, WaitOutcome& out) {
    if (!(request.options & kWexited) || child.state != Process::State::kZombie) return false;
    const int status = child.exit_status;
    CpuUsage usage = usage_of(child);
    usage += child.children_usage;
    out = {child.pid, uid_of(child), status,
           (status & 0x7f) == 0 ? kCldExited
           : status & 0x80      ? kCldDumped
                                : kCldKilled,
           usage};
    if (!(request.options & kWnowait)) child.unlink_all();
    return true;
}

bool take_stop(Process& child, const WaitRequest& request, WaitOutcome& out) {
    if (child.state != Process::State::kAlive) return false;
    const bool keep = request.options & kWnowait;
    if ((request.options & kWuntraced) && child.stopped && !child.stop_reported) {
        out = {child.pid, uid_of(child), child.stop_signal << 8 | 0x7f, kCldStopped, usage_of(child)};
        if (!keep) child.stop_reported = true;
        return true;
    }
    if ((request.options & kWcontinued) && !child.stopped && !child.continue_reported) {
        out = {child.pid, uid_of(child), 0xffff, kCldContinued, usage_of(child)};
        if (!keep) child.continue_reported = true;
        return true;
    }
    return false;
}

// A tracer hears of each traced task by itself, whatever signal it ends with.
bool matches(const Trace& trace, const WaitRequest& request) {
    if (request.which == WaitRequest::Which::kPid) return trace.tid == request.id;
    if (request.which == WaitRequest::Which::kGroup) return trace.tracee && trace.tracee->process().group == request.id;
    return true;
}

bool take_trace(Trace& trace, const WaitRequest& request, WaitOutcome& out) {
    const bool keep = request.options & kWnowait;
    if (trace.ended) {
        if (!(request.options & kWexited)) return false;
        const int status = trace.exit_status;
        out = {trace.tid, trace.uid, status, (status & 0x7f) == 0 ? kCldExited : kCldKilled, {}};
        if (keep) return true;
        trace.hook.unlink();
        trace.tracer = nullptr;
        trace.unref();
        return true;
    }
    if (!trace.stopped || trace.listening || trace.reported || !trace.tracee) return false;
    out = {trace.tid, trace.tracee->credentials().ruid, trace.stop_code << 8 | 0x7f, kCldTrapped,
           trace.tracee->usage()};
    if (!keep) trace.reported = true;
    return true;
}

bool take_tracee(Task& tracer, const WaitRequest& request, WaitOutcome& out, bool& any) {
    TraceList* list = tracees_of(tracer);
    if (!list) return false;
    for (Trace& trace : *list) {
        if (!matches(trace, request)) continue;
        any = true;
        if (take_trace(trace, request, out)) return true;
    }
    return false;
}

bool traced_by(Process& child, const Process& process) {
    const Task* leader = child.leader();
    return leader && leader->trace && leader->trace->tracer && &leader->trace->tracer->process() == &process;
}

}  // namespace

Result<WaitOutcome> wait_for_child(Task& task, const WaitRequest& request) {
    Process& process = task.process();
    WaitOutcome outcome;
    bool no_child = false;
    auto ready = [&] {
        bool any_tracee = false;
        for (Task& tracer : process.threads)
            if ((&tracer == &task || !(request.options & kWnothread)) &&
                take_tracee(tracer, request, outcome, any_tracee))
                return true;
        no_child = !any_tracee;
        for (Process& child : process.children) {
            if (traced_by(child, process) || !matches(child, request)) continue;
            no_child = false;
            if (take_zombie(child, request, outcome) || take_stop(child, request, outcome)) return true;
        }
        return no_child || (request.options & kWnohang) != 0;
    };
    no_child = false;
    TRY(process.child_events.wait(ready));
    if (outcome.pid == 0 && no_child) return Errno::kCHILD;
    return outcome;
}

}  // namespace kvmsbx::task
