#include "guestkernel/sched/quota.hpp"

#include <algorithm>

#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/scheduler.hpp"

namespace kvmsbx::sched {

bool quota_is_set, quota_used_up;

namespace {

constexpr Nanoseconds kShortestPeriod = 1'000'000, kLongestPeriod = 1'000'000'000, kLeastQuota = 1'000'000;
constexpr Nanoseconds kShortestLook = 500'000;

template <typename Visit>
void for_each_running(Visit visit) {
    for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id)
        if (cpus[id].area && cpus[id].running->shares_quota) visit(cpus[id]);
}

Nanoseconds total_run() {
    Nanoseconds total = quota_time;
    for_each_running([&](CpuState& cpu) { total += cpu.running->total_cpu_time() - cpu.running->cpu_time; });
    return total;
}

class QuotaTimer final : public Timer {
  public:
    void set(Nanoseconds quota, Nanoseconds period) {
        account_.set(quota, period, now(), total_run());
        quota_is_set = quota != 0;
        cancel();
        look();
    }
    void watch() {
        account_.begin(now(), total_run());
        look();
    }
    void fire() override { look(); }
    const QuotaAccount& account() const { return account_; }
    WaitQueue waiters;

  private:
    void look() {
        const Nanoseconds time = now(), total = total_run();
        account_.update(time, total);
        if (account_.used_up() && !quota_used_up) stop_applications();
        if (!account_.used_up() && quota_used_up) let_applications_go_on();
        if (quota_is_set && !account_.rests()) arm(account_.next_look(time, total, platform::boot_info().cpu_count));
    }

    // All vCPUs, also where a thread waits in ring 3 for its call, which runs elsewhere.
    void stop_applications() {
        quota_used_up = true;
        for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
            if (!cpus[id].area || cpus[id].running == &cpus[id].idle) continue;
            slice_over[id] = true;
            if (&cpus[id] != &this_cpu()) platform::kick(*cpus[id].area);
        }
    }

    void let_applications_go_on() {
        quota_used_up = false;
        waiters.wake_all();
    }

    QuotaAccount account_;
};

QuotaTimer timer;

}  // namespace

void QuotaAccount::set(Nanoseconds quota, Nanoseconds period, Nanoseconds time, Nanoseconds total) {
    quota_ = quota;
    period_ = period;
    throttle(false, time);
    begin(time, total);
}

void QuotaAccount::begin(Nanoseconds time, Nanoseconds total) {
    period_end_ = time + period_;
    start_ = total;
    rests_ = false;
}

void QuotaAccount::update(Nanoseconds time, Nanoseconds total) {
    if (quota_ == 0) return throttle(false, time);
    if (time >= period_end_) end_periods(time, total);
    throttle(used(total) >= quota_, time);
}

void QuotaAccount::end_periods(Nanoseconds time, Nanoseconds total) {
    const uint64_t count = (time - period_end_) / period_ + 1;
    rests_ = used(total) == 0;
    statistics_.periods += count;
    if (throttled_) statistics_.throttled_periods += count;
    start_ += std::min(used(total), count * quota_);
    period_end_ += count * period_;
}

void QuotaAccount::throttle(bool wanted, Nanoseconds time) {
    if (wanted && !throttled_) throttled_since_ = time;
    if (!wanted && throttled_) statistics_.throttled_time += time - throttled_since_;
    throttled_ = wanted;
}

Nanoseconds QuotaAccount::next_look(Nanoseconds time, Nanoseconds total, unsigned vcpus) const {
    if (throttled_) return period_end_;
    return std::min(period_end_, time + std::max((quota_ - used(total)) / vcpus, kShortestLook));
}

QuotaAccount::Statistics QuotaAccount::statistics(Nanoseconds time) const {
    Statistics now = statistics_;
    if (throttled_) now.throttled_time += time - throttled_since_;
    return now;
}

Result<> set_cpu_quota(Nanoseconds quota, Nanoseconds period) {
    if (quota == 0 && period == 0) period = QuotaAccount::kDefaultPeriod;
    if (period < kShortestPeriod || period > kLongestPeriod) return Errno::kINVAL;
    if (quota != 0 && quota < kLeastQuota) return Errno::kINVAL;
    timer.set(quota, period);
    return {};
}

const QuotaAccount& cpu_quota() { return timer.account(); }

void watch_quota() {
    if (!timer.armed()) timer.watch();
}

void wait_for_quota() {
    struct Parked final : Waiter {
        Thread& thread = current();
        void notify(uint32_t) override { wake(thread); }
    } parked;
    Thread& self = current();
    this_cpu().preempted = false;
    timer.waiters.add(parked);
    self.awaits_quota = true;
    block(Interruptible::kYes);
    self.awaits_quota = false;
    if (parked.wait_hook.is_linked()) WaitQueue::remove(parked);
    // It did not choose to wait.
    --self.voluntary_switches, ++self.involuntary_switches;
}

}  // namespace kvmsbx::sched
