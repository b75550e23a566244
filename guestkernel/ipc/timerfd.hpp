#pragma once
// timerfd_create(2). Time is kept on the monotonic clock; an absolute time of another clock is converted when it is set
// (clocks are never set inside the sandbox, so TFD_TIMER_CANCEL_ON_SET never cancels).
#include "guestkernel/ipc/anonymous_file.hpp"

namespace kvmsbx::ipc {

enum class TimerClock : uint8_t { kRealtime, kMonotonic, kBoottime };

class TimerFd final : public AnonymousFile, private sched::Timer {
  public:
    struct Setting {  // struct itimerspec in nanoseconds; value 0: disarmed
        sched::Nanoseconds interval = 0, value = 0;
    };
    TimerFd(TimerClock clock, uint32_t flags) : AnonymousFile("[timerfd]", flags), clock_(clock) {}
    // Gives the old setting.
    Setting set(const Setting& setting, bool absolute);
    Setting remaining() const;
    Result<size_t> read(mm::IoBuffer& to) override;
    vfs::PollState poll() override;
    const void* class_tag() const override { return &kTag; }
    // Null if the file is no timerfd.
    static TimerFd* from(vfs::File& file);

  private:
    static const char kTag;
    void fire() override;
    const TimerClock clock_;
    sched::Nanoseconds interval_ = 0;
    uint64_t expirations_ = 0;
    sched::WaitQueue changed_;
};

}  // namespace kvmsbx::ipc
