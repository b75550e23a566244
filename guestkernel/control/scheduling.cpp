#include "guestkernel/control/scheduling.hpp"

#include "guestkernel/task/scheduling.hpp"

namespace kvmsbx::control {
namespace {

constexpr int kLeastNice = -20, kMostNice = 19;

bool apply_policy(task::Task& task, const spec::Scheduling& wanted, Failure& failure) {
    const task::SchedulingRequest request{static_cast<int32_t>(wanted.policy), static_cast<int32_t>(wanted.priority),
                                          wanted.nice, true, wanted.reset_on_fork};
    Result<> checked = task::check_scheduling(request);
    if (wanted.nice < kLeastNice || wanted.nice > kMostNice) checked = Errno::kINVAL;
    if (checked.is_error())
        return fail(failure, "cannot apply", "process.scheduler", checked.error(),
                    "a sandbox has SCHED_OTHER, SCHED_BATCH, SCHED_IDLE (nice -20 to 19), SCHED_FIFO and SCHED_RR "
                    "(priority 1 to 99)");
    task::set_scheduling(task, request);
    return true;
}

bool apply_io_priority(task::Task& task, uint32_t priority, Failure& failure) {
    if (auto checked = task::check_io_priority(priority); checked.is_error() || priority > UINT16_MAX)
        return fail(failure, "cannot apply", "process.ioPriority", Errno::kINVAL, "check its class and priority");
    task.io_priority = static_cast<uint16_t>(priority);
    return true;
}

// What was wanted for the way to the program holds on, unless something else is wanted for the program.
bool apply_affinity(task::Task& task, const ProcessSpec& spec, Failure& failure) {
    const uint64_t wanted = spec.affinity ? spec.affinity : spec.first_affinity;
    if (!wanted || task::set_affinity(task, wanted).is_ok()) return true;
    return fail(failure, "cannot apply", "process.execCPUAffinity", Errno::kINVAL,
                "none of these CPUs is in the sandbox, whose CPUs are counted from 0");
}

}  // namespace

bool apply_scheduling(task::Task& task, const ProcessSpec& spec, Failure& failure) {
    task.process().personality = spec.personality;
    return apply_policy(task, spec.scheduling, failure) && apply_io_priority(task, spec.io_priority, failure) &&
           apply_affinity(task, spec, failure);
}

}  // namespace kvmsbx::control
