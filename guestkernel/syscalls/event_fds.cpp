#include "guestkernel/ipc/eventfd.hpp"
#include "guestkernel/ipc/signalfd.hpp"
#include "guestkernel/ipc/timerfd.hpp"
#include "guestkernel/syscalls/poll_time.hpp"

namespace kvmsbx::syscalls {

using ipc::EventFd;
using ipc::SignalFd;
using ipc::TimerClock;
using ipc::TimerFd;

namespace {

constexpr uint32_t kSemaphore = 1;                                 // EFD_SEMAPHORE
constexpr uint64_t kTimerAbsolute = 1, kTimerCancelOnSet = 2;      // TFD_TIMER_*
constexpr uint32_t kFileFlags = vfs::kOCloexec | vfs::kONonblock;  // EFD_*, SFD_* and TFD_* have their values
constexpr int32_t kClockRealtime = 0, kClockMonotonic = 1, kClockBoottime = 7, kClockRealtimeAlarm = 8,
                  kClockBoottimeAlarm = 9;
constexpr auto kWakeAlarm = static_cast<auth::Capability>(35);  // CAP_WAKE_ALARM

Result<int64_t> install(Task& task, RefPtr<vfs::File> file, uint32_t flags) {
    return TRY(task.files().install(std::move(file), flags & vfs::kOCloexec, task.limit(task::kRlimitNofile)));
}

Result<TimerClock> timer_clock(const Task& task, int32_t clock) {
    switch (clock) {
        case kClockRealtime: return TimerClock::kRealtime;
        case kClockMonotonic: return TimerClock::kMonotonic;
        case kClockBoottime: return TimerClock::kBoottime;
        case kClockRealtimeAlarm:
        case kClockBoottimeAlarm:
            if (!task.credentials().has(kWakeAlarm)) return Errno::kPERM;
            return clock == kClockRealtimeAlarm ? TimerClock::kRealtime : TimerClock::kBoottime;
        default: return Errno::kINVAL;
    }
}

Result<RefPtr<vfs::File>> timer_file(Task& task, Fd fd) {
    RefPtr<vfs::File> file = TRY(task.files().get(fd));
    if (!TimerFd::from(*file)) return Errno::kINVAL;
    return file;
}

PollItimerspec to_itimerspec(const TimerFd::Setting& setting) {
    return {to_timespec(setting.interval), to_timespec(setting.value)};
}

}  // namespace

Result<int64_t> sys_eventfd2(Task& task, uint32_t count, OpenFlags flags) {
    if (flags & ~(kFileFlags | kSemaphore)) return Errno::kINVAL;
    const auto mode = flags & kSemaphore ? EventFd::Mode::kSemaphore : EventFd::Mode::kCounter;
    return install(task, TRY(make_ref<EventFd>(count, mode, flags & vfs::kONonblock)), flags);
}

Result<int64_t> sys_eventfd(Task& task, uint32_t count) { return sys_eventfd2(task, count, OpenFlags{0}); }

Result<int64_t> sys_signalfd4(Task& task, Fd fd, UserIn<uint64_t> mask, size_t mask_size, OpenFlags flags) {
    if (mask_size != sizeof(uint64_t)) return Errno::kINVAL;
    const task::SignalSet set{TRY(mask.load(task.space()))};
    if (flags & ~kFileFlags) return Errno::kINVAL;
    if (fd == -1) return install(task, TRY(make_ref<SignalFd>(set, flags & vfs::kONonblock)), flags);
    const RefPtr<vfs::File> file = TRY(task.files().get(fd));
    SignalFd* signals = SignalFd::from(*file);
    if (!signals) return Errno::kINVAL;
    signals->set_mask(set);
    task.process().signal_arrived.wake_all();
    return fd.value;
}

Result<int64_t> sys_signalfd(Task& task, Fd fd, UserIn<uint64_t> mask, size_t mask_size) {
    return sys_signalfd4(task, fd, mask, mask_size, OpenFlags{0});
}

Result<int64_t> sys_timerfd_create(Task& task, int32_t clock, OpenFlags flags) {
    if (flags & ~kFileFlags) return Errno::kINVAL;
    const TimerClock kind = TRY(timer_clock(task, clock));
    return install(task, TRY(make_ref<TimerFd>(kind, flags & vfs::kONonblock)), flags);
}

Result<int64_t> sys_timerfd_settime(Task& task, Fd fd, Flags flags, UserIn<PollItimerspec> setting,
                                    UserOut<PollItimerspec> old) {
    const PollItimerspec wanted = TRY(setting.load(task.space()));
    if (static_cast<uint32_t>(flags) & ~(kTimerAbsolute | kTimerCancelOnSet)) return Errno::kINVAL;
    const TimerFd::Setting times{TRY(to_nanoseconds(wanted.interval)), TRY(to_nanoseconds(wanted.value))};
    const RefPtr<vfs::File> file = TRY(timer_file(task, fd));
    const TimerFd::Setting before = TimerFd::from(*file)->set(times, flags & kTimerAbsolute);
    if (old) TRY(old.store(task.space(), to_itimerspec(before)));
    return 0;
}

Result<int64_t> sys_timerfd_gettime(Task& task, Fd fd, UserOut<PollItimerspec> setting) {
    const RefPtr<vfs::File> file = TRY(timer_file(task, fd));
    TRY(setting.store(task.space(), to_itimerspec(TimerFd::from(*file)->remaining())));
    return 0;
}

}  // namespace kvmsbx::syscalls
