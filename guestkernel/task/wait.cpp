// wait4(2), waitid(2).
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/signal_delivery.hpp"

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
    const CpuUsage usage = process_usage(child);
    out = {child.pid,
           uid_of(child),
           status,
           (status & 0x7f) == 0 ? kCldExited
           : status & 0x80      ? kCldDumped
                                : kCldKilled,
           {usage.user + child.children_usage.user, usage.system + child.children_usage.system}};
    if (!(request.options & kWnowait)) child.unlink_all();
    return true;
}

bool take_stop(Process& child, const WaitRequest& request, WaitOutcome& out) {
    if (child.state != Process::State::kAlive) return false;
    const bool keep = request.options & kWnowait;
    if ((request.options & kWuntraced) && child.stopped && !child.stop_reported) {
        out = {child.pid, uid_of(child), child.stop_signal << 8 | 0x7f, kCldStopped, process_usage(child)};
        if (!keep) child.stop_reported = true;
        return true;
    }
    if ((request.options & kWcontinued) && !child.stopped && !child.continue_reported) {
        out = {child.pid, uid_of(child), 0xffff, kCldContinued, process_usage(child)};
        if (!keep) child.continue_reported = true;
        return true;
    }
    return false;
}

}  // namespace

Result<WaitOutcome> wait_for_child(Task& task, const WaitRequest& request) {
    Process& process = task.process();
    WaitOutcome outcome;
    bool no_child = false;
    auto ready = [&] {
        no_child = true;
        for (Process& child : process.children) {
            if (!matches(child, request)) continue;
            no_child = false;
            if (take_zombie(child, request, outcome) || take_stop(child, request, outcome)) return true;
        }
        return no_child || (request.options & kWnohang) != 0;
    };
    TRY(process.child_events.wait(ready));
    if (no_child) return Errno::kCHILD;
    return outcome;
}

}  // namespace kvmsbx::task
