#pragma once
// The pids controller (Documentation/admin-guide/cgroup-v2.rst): how many tasks the sandbox may have. As on Linux a
// task counts from the begin of its fork until it is gone: a thread until it ends, a thread group's leader until its
// process is waited for.
#include <cstdint>

#include "common/base/result.hpp"

namespace kvmsbx::task {

// At start, and at any time later; below what there is, it holds for new tasks only. 0: no limit.
void set_pids_limit(uint64_t limit);

struct PidsStatistics {
    uint64_t limit = 0;  // 0: none
    uint64_t current = 0, peak = 0;
    uint64_t refused = 0;  // "max" of pids.events
};
const PidsStatistics& pids_statistics();

// The place of a task that is being made.
class PidCharge {
  public:
    // EAGAIN: the limit is reached.
    static Result<PidCharge> take();
    PidCharge(PidCharge&& other) : held_(other.held_) { other.held_ = false; }
    PidCharge& operator=(PidCharge&&) = delete;
    ~PidCharge();
    // The task is there: release_pid() is called when it is gone.
    void keep() { held_ = false; }

  private:
    PidCharge() = default;
    bool held_ = true;
};
void release_pid();

}  // namespace kvmsbx::task
