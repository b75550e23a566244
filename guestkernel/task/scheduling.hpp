#pragma once
// Scheduling policies (sched(7)) and what a thread has of them.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

enum SchedulingPolicy : int32_t {
    kSchedOther = 0,
    kSchedFifo = 1,
    kSchedRoundRobin = 2,
    kSchedBatch = 3,
    kSchedIdle = 5,
    kSchedDeadline = 6
};
inline bool is_real_time(int32_t policy) { return policy == kSchedFifo || policy == kSchedRoundRobin; }

struct SchedulingRequest {
    int32_t policy = kSchedOther, priority = 0, nice = 0;
    bool sets_nice = false, reset_on_fork = false;
};
// EINVAL; EPERM: deadlines, which the Sentry does not have.
Result<> check_scheduling(const SchedulingRequest& request);
// Of a checked request.
void set_scheduling(Task& task, const SchedulingRequest& request);

// ioprio_set(2): class << kIoClassShift | level.
inline constexpr unsigned kIoClassShift = 13;
enum IoClass : uint32_t { kIoNone = 0, kIoRealTime = 1, kIoBestEffort = 2, kIoIdle = 3 };
// EINVAL.
Result<> check_io_priority(uint32_t priority);

// The vCPUs that there are, by bits.
uint64_t online_cpus();
// EINVAL: none of these vCPUs is there. The caller may go on on another vCPU.
Result<> set_affinity(Task& task, uint64_t vcpus);

}  // namespace kvmsbx::task
