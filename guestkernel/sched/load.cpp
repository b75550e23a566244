#include "guestkernel/sched/load.hpp"

namespace kvmsbx::sched {
namespace {

constexpr uint64_t kMostPeriods = 1 << 20;  // two months without a sample: nothing is left of an average

// e^(-5 s / 1, 5, 15 min), in units of 1 / kLoadOne.
constexpr uint64_t kDecay[3] = {1884, 2014, 2037};

// decay^count.
uint64_t power(uint64_t decay, uint64_t count) {
    uint64_t result = kLoadOne;
    for (; count; count >>= 1) {
        if (count & 1) result = (result * decay + kLoadOne / 2) >> kLoadShift;
        decay = (decay * decay + kLoadOne / 2) >> kLoadShift;
    }
    return result;
}

class LoadTimer final : public Timer {
  public:
    void fire() override {
        const uint64_t active = active_threads();
        advance(active);
        if (active) arm(sampled_ + kLoadPeriod);
    }
    void start() {
        advance(0);
        arm(sampled_ + kLoadPeriod);
    }
    const LoadAverages& averages() {
        if (!armed()) advance(0);
        return averages_;
    }

  private:
    // Takes the samples that are due; all but the last fell into a time without active threads.
    void advance(uint64_t active) {
        const Nanoseconds time = now();
        if (sampled_ == 0 || time < sampled_) sampled_ = time;
        const uint64_t due = (time - sampled_) / kLoadPeriod;
        if (due == 0) return;
        if (due > 1) averages_ = after_samples(averages_, 0, due - 1);
        averages_ = after_samples(averages_, active, 1);
        sampled_ += due * kLoadPeriod;
    }
    LoadAverages averages_;
    Nanoseconds sampled_ = 0;
};

LoadTimer load_timer;

}  // namespace

LoadAverages after_samples(const LoadAverages& averages, uint64_t active, uint64_t count) {
    LoadAverages next;
    const uint64_t goal = active << kLoadShift;
    for (unsigned i = 0; i < 3; ++i) {
        const uint64_t kept = power(kDecay[i], count < kMostPeriods ? count : kMostPeriods), was = averages.fixed[i];
        uint64_t sum = was * kept + goal * (kLoadOne - kept);
        if (goal >= was) sum += kLoadOne - 1;  // rounds towards the goal, which it would never reach otherwise
        next.fixed[i] = sum >> kLoadShift;
    }
    return next;
}

LoadAverages load_averages() { return load_timer.averages(); }

void watch_load() {
    if (!load_timer.armed()) [[unlikely]]
        load_timer.start();
}

}  // namespace kvmsbx::sched
