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

TimerFd::Setting TimerFd::remaining() const {
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
    const Nanoseconds now = sched::now();
    const Nanoseconds due = deadline();
    ++expirations_;
    if (interval_) {
        const uint64_t missed = now > due ? (now - due) / interval_ : 0;
        expirations_ += missed;
        arm(add_saturated(due, (missed + 1) * interval_));
    }
    changed_.wake_all(vfs::kPollIn);
}

Result<size_t> TimerFd::read(mm::IoBuffer& to) {
    if (to.remaining() < sizeof expirations_) return Errno::kINVAL;
    if (expirations_ == 0) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(changed_.wait([&] { return expirations_ > 0; }));
    }
    const uint64_t count = expirations_;
    expirations_ = 0;
    if (TRY(to.put(&count, sizeof count)) != sizeof count) return Errno::kFAULT;
    return sizeof count;
}

vfs::PollState TimerFd::poll() { return {expirations_ ? vfs::kPollIn : 0, &changed_}; }

}  // namespace kvmsbx::ipc
