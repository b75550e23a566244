#pragma once
// POSIX clocks and what CPU time a task has used (clock_getres(2), getrusage(2)).
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

struct TimeSpec {  // struct timespec
    int64_t seconds, nanoseconds;
};
struct TimeVal {  // struct timeval
    int64_t seconds, microseconds;
};

inline constexpr uint64_t kNsPerSecond = 1'000'000'000, kNsPerMicrosecond = 1000;
// 100 per second (USER_HZ): times(2), /proc/PID/stat.
inline constexpr uint64_t kNsPerTick = 10'000'000;

enum Clock : int32_t {
    kClockRealtime = 0,
    kClockMonotonic = 1,
    kClockProcessCpu = 2,
    kClockThreadCpu = 3,
    kClockMonotonicRaw = 4,
    kClockRealtimeCoarse = 5,
    kClockMonotonicCoarse = 6,
    kClockBoottime = 7,
    kClockRealtimeAlarm = 8,
    kClockBoottimeAlarm = 9,
    kClockTai = 11,
};

// timespec64_valid: not negative, nanoseconds below a second.
inline bool is_valid(const TimeSpec& t) {
    return t.seconds >= 0 && t.nanoseconds >= 0 && t.nanoseconds < static_cast<int64_t>(kNsPerSecond);
}
inline sched::Nanoseconds saturating_add(sched::Nanoseconds a, sched::Nanoseconds b) {
    return a + b < a ? sched::kNever : a + b;
}
// Of a valid time; beyond 292 years it saturates to kNever.
sched::Nanoseconds to_nanoseconds(const TimeSpec& t);
TimeSpec to_timespec(sched::Nanoseconds ns);
TimeVal to_timeval(sched::Nanoseconds ns);

// The monotonic time at which CLOCK_REALTIME shows `realtime`; now() if that has passed.
sched::Nanoseconds monotonic_of_realtime(sched::Nanoseconds realtime);
// The same for any clock that one can sleep on (realtime, monotonic, boottime and the CPU clocks' absence): EINVAL,
// ENOTSUP as clock_nanosleep(2).
Result<sched::Nanoseconds> monotonic_of(int32_t clock, sched::Nanoseconds absolute);

// A clock's time in ns for `task`; dynamic CPU clocks (negative ids) too. EINVAL.
Result<sched::Nanoseconds> clock_time(Task& task, int32_t clock);
// CPU-time clocks by an id that stays right whoever asks: of the caller's own, a number is filled in. EINVAL for other
// clocks and for those of another process's threads.
Result<int32_t> cpu_clock_for_all(const Task& task, int32_t clock);
// EINVAL: what it measured is gone.
Result<sched::Nanoseconds> cpu_clock_now(int32_t clock);
// When a CPU-time clock could show `left` more at the earliest: threads use as many seconds per second as there are
// vCPUs.
sched::Nanoseconds earliest_on_cpu_clock(sched::Nanoseconds left);
// Its resolution in ns. EINVAL.
Result<sched::Nanoseconds> clock_resolution(Task& task, int32_t clock);

// CPU time so far.
CpuUsage usage_of(const Task& task);
CpuUsage usage_of(const Process& process);  // all its threads, also those that ended
CpuUsage usage_of_all();                    // of processes that live, and of those that are gone
template <typename Who>
sched::Nanoseconds cpu_time_of(const Who& who) {
    const CpuUsage usage = usage_of(who);
    return usage.user + usage.system;
}

}  // namespace kvmsbx::task
