#pragma once
// CPU bandwidth control (Documentation/scheduler/sched-bwc.rst): the threads of applications run for `quota` in each
// `period` at most, all of them and all vCPUs together. Kernel lock held.
//
// The scheduler counts what the threads that share the quota have run, in ring 3 and in the Sentry. A timer looks when
// the rest of a period's quota could be used up at the earliest, and at the period's end. Once nothing is left, such a
// thread does not go back to ring 3: it waits in make_way() (sched.hpp) for the next period. In the Sentry threads run
// on, so that nobody waits for a lock whose owner has no quota. What was run too much is taken from the next periods.
// The timer rests while no thread runs.
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::sched {

// The arithmetic; without clocks, for tests. `total`: what all threads together have run so far.
class QuotaAccount {
  public:
    struct Statistics {
        uint64_t periods = 0, throttled_periods = 0;
        Nanoseconds throttled_time = 0;  // while nobody was allowed to run
    };

    // A first period begins. quota 0: none.
    void set(Nanoseconds quota, Nanoseconds period, Nanoseconds time, Nanoseconds total);
    // After a rest: a period begins.
    void begin(Nanoseconds time, Nanoseconds total);
    // What has happened until `time`; used_up() and rests() say what follows.
    void update(Nanoseconds time, Nanoseconds total);
    bool used_up() const { return throttled_; }
    // No thread ran in the last period, so that nothing has to be watched.
    bool rests() const { return rests_; }
    // When to look again: on so many vCPUs nothing can be used up before.
    Nanoseconds next_look(Nanoseconds time, Nanoseconds total, unsigned vcpus) const;

    Nanoseconds quota() const { return quota_; }
    Nanoseconds period() const { return period_; }
    // `time`: the present one, for what lasts.
    Statistics statistics(Nanoseconds time) const;

  private:
    Nanoseconds used(Nanoseconds total) const { return total - start_; }
    void end_periods(Nanoseconds time, Nanoseconds total);
    void throttle(bool wanted, Nanoseconds time);

    Nanoseconds quota_ = 0, period_ = kDefaultPeriod;
    Nanoseconds period_end_ = 0;
    Nanoseconds start_ = 0;  // `total` at which this period's quota was whole
    bool throttled_ = false, rests_ = false;
    Nanoseconds throttled_since_ = 0;
    Statistics statistics_;

  public:
    static constexpr Nanoseconds kDefaultPeriod = 100'000'000;
};

// At start, or later. quota 0: none. EINVAL: the period is not one of 1 ms to 1 s, or the quota is below 1 ms (cpu.max).
Result<> set_cpu_quota(Nanoseconds quota, Nanoseconds period);
const QuotaAccount& cpu_quota();

// From now on the running thread shares the quota.
void share_quota(Thread& thread);

// The scheduler's side.
extern bool quota_is_set;   // only then the rest is of interest
extern bool quota_used_up;  // no thread that shares the quota may go on in ring 3
// Such a thread comes onto a vCPU.
void watch_quota();
// On such a thread, on its way to ring 3, nothing being left: until the next period, or a signal.
void wait_for_quota();

}  // namespace kvmsbx::sched
