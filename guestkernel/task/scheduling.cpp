#include "guestkernel/task/scheduling.hpp"

#include "guestkernel/platform/host.hpp"

namespace kvmsbx::task {

Result<> check_scheduling(const SchedulingRequest& request) {
    constexpr int32_t kMostPriority = 99;
    const int32_t policy = request.policy;
    if (policy == kSchedDeadline) return Errno::kPERM;
    if (!is_real_time(policy) && policy != kSchedOther && policy != kSchedBatch && policy != kSchedIdle)
        return Errno::kINVAL;
    if (request.priority < 0 || request.priority > kMostPriority || is_real_time(policy) != (request.priority != 0))
        return Errno::kINVAL;
    return {};
}

void set_scheduling(Task& task, const SchedulingRequest& request) {
    task.scheduling_policy = static_cast<uint8_t>(request.policy);
    task.real_time_priority = static_cast<uint8_t>(request.priority);
    task.keeps_cpu = request.policy == kSchedFifo;
    task.reset_scheduling_on_fork = request.reset_on_fork;
    if (request.sets_nice && !is_real_time(request.policy)) task.nice = request.nice;
}

Result<> check_io_priority(uint32_t priority) {
    constexpr uint32_t kLevelMask = 7;
    switch (priority >> kIoClassShift) {
        case kIoNone: return priority & kLevelMask ? Result<>(Errno::kINVAL) : Result<>();
        case kIoRealTime:
        case kIoBestEffort:
        case kIoIdle: return {};
        default: return Errno::kINVAL;
    }
}

uint64_t online_cpus() {
    const uint32_t count = platform::boot_info().cpu_count;
    return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

Result<> set_affinity(Task& task, uint64_t vcpus) {
    if ((vcpus & online_cpus()) == 0) return Errno::kINVAL;
    task.affinity = vcpus & online_cpus();
    sched::move_to_allowed_cpu(task);
    return {};
}

}  // namespace kvmsbx::task
