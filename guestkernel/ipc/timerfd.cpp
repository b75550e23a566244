#include "guestkernel/ipc/timerfd.hpp"

namespace kvmsbx::ipc {

using sched::Nanoseconds;

namespace {

Nanoseconds read_clock(TimerClock clock) {
    switch (clock) {
        case TimerClock::kRealtime: return sched::realtime_now();
        case TimerClock::kBoottime: return sched::boottime_now();
        default: return sched::now();
    }
}

Nanoseconds add_saturated(Nanoseconds a, Nanoseconds b) {
    return a > sched::kNever - 1 - b ? sched::kNever - 1 : a + b;
}

}  // namespace

const char TimerFd::kTag = 0;

// SAFETY: the tag is this class's own.
TimerFd* TimerFd::from(vfs::File& file) { return file.class_tag() == &kTag ? static_cast<TimerFd*>(&file) : nullptr; }

void TimerFd::catch_up() {
    const Nanoseconds due = std::exchange(stopped_at_, 0);
    if (due == 0) return;
    const uint64_t passed = (sched::now() - due) / interval_;
    expirations_ += passed;
    arm(add_saturated(due + passed * interval_, interval_));
}

TimerFd::Setting TimerFd::remaining() {
    catch_up();
    Setting setting{.interval = interval_, .value = 0};
    if (armed()) {
        const Nanoseconds now = sched::now();
        setting.value = deadline() > now ? deadline() - now : 1;
    }
    return setting;
}

TimerFd::Setting TimerFd::set(const Setting& setting, bool absolute) {
    const Setting old = remaining();
    cancel();
    expirations_ = 0;
    interval_ = setting.interval;
    if (setting.value == 0) return old;
    Nanoseconds delay = setting.value;
    if (absolute) {
        const Nanoseconds clock = read_clock(clock_);
        delay = setting.value > clock ? setting.value - clock : 0;
    }
    const Nanoseconds now = sched::now();
    if (absolute && delay == 0) {
        // The time has passed already: count the periods since then at once.
        const Nanoseconds late = read_clock(clock_) - setting.value;
        expirations_ = 1 + (interval_ ? late / interval_ : 0);
        if (interval_) arm(now + interval_ - late % interval_);
        changed_.wake_all(vfs::kPollIn);
        return old;
    }
    arm(add_saturated(now, delay));
    return old;
}

void TimerFd::fire() {
    ++expirations_;
    if (interval_) stopped_at_ = deadline();
    changed_.wake_all(vfs::kPollIn);
}

Result<size_t> TimerFd::read(mm::IoBuffer& to) {
    if (to.remaining() < sizeof expirations_) return Errno::kINVAL;
    if (expirations_ == 0) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(changed_.wait([&] { return expirations_ > 0; }));
    }
    catch_up();
    const uint64_t count = std::exchange(expirations_, 0);
    if (TRY(to.put(&count, sizeof count)) != sizeof count) return Errno::kFAULT;
    return sizeof count;
}

vfs::PollState TimerFd::poll() { return {expirations_ ? vfs::kPollIn : 0, &changed_}; }

}  // namespace kvmsbx::ipc
