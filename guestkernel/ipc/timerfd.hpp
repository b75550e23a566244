#pragma once
// timerfd_create(2). Time is kept on the monotonic clock; an absolute time of another clock is converted when it is set
// (clocks are never set inside the sandbox, so TFD_TIMER_CANCEL_ON_SET never cancels). A periodic timer that has
// expired stands still until it is read or asked: what passed meanwhile is counted then. So a period of a nanosecond
// costs one interrupt per read, and a poller hears of a timer that nobody reads once.
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
    Setting remaining();
    Result<size_t> read(mm::IoBuffer& to) override;
    vfs::PollState poll() override;
    const void* class_tag() const override { return &kTag; }
    // Null if the file is no timerfd.
    static TimerFd* from(vfs::File& file);

  private:
    static const char kTag;
    void fire() override;
    // Counts the periods since the timer stands still, and starts it again.
    void catch_up();
    const TimerClock clock_;
    sched::Nanoseconds interval_ = 0,
                       stopped_at_ = 0;  // stopped_at_: the deadline after which it stands still; 0: none
    uint64_t expirations_ = 0;
    sched::WaitQueue changed_;
};

}  // namespace kvmsbx::ipc
