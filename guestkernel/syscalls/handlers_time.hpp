#pragma once
// Clocks, sleeps and CPU time (time.cpp), interval and POSIX timers (timers.cpp).
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/clocks.hpp"

namespace kvmsbx::syscalls {

using task::TimeSpec;
using task::TimeVal;

struct ITimerVal {  // struct itimerval
    TimeVal interval, value;
};
struct ITimerSpec {  // struct itimerspec
    TimeSpec interval, value;
};
struct TimeZone {  // struct timezone
    int32_t minutes_west, dst_time;
};
struct Times {  // struct tms
    int64_t user, system, children_user, children_system;
};
struct ResourceUsage {  // struct rusage
    TimeVal user, system;
    int64_t max_resident_kib, shared_size, data_size, stack_size, minor_faults, major_faults, swaps, blocks_in,
        blocks_out, messages_sent, messages_received, signals, voluntary_switches, involuntary_switches;
};
static_assert(sizeof(ResourceUsage) == 144);
ResourceUsage to_rusage(const task::CpuUsage& usage, uint64_t resident_pages);

struct Timex {  // struct timex
    uint32_t modes, pad0;
    int64_t offset, frequency, max_error, estimated_error;
    int32_t status, pad1;
    int64_t constant, precision, tolerance;
    TimeVal time;
    int64_t tick, pps_frequency, jitter;
    int32_t shift, pad2;
    int64_t stability, jitter_count, calibrations, errors, stability_count;
    int32_t tai, pad3[11];
};
static_assert(sizeof(Timex) == 208);

Result<int64_t> sys_nanosleep(Task& task, UserIn<TimeSpec> wanted, UserOut<TimeSpec> remaining);
Result<int64_t> sys_clock_nanosleep(Task& task, int32_t clock, Flags flags, UserIn<TimeSpec> wanted,
                                    UserOut<TimeSpec> remaining);
Result<int64_t> sys_clock_gettime(Task& task, int32_t clock, UserOut<TimeSpec> out);
Result<int64_t> sys_clock_getres(Task& task, int32_t clock, UserOut<TimeSpec> out);
Result<int64_t> sys_adjtimex(Task& task, UserInOut<Timex> buffer);
Result<int64_t> sys_clock_adjtime(Task& task, int32_t clock, UserInOut<Timex> buffer);
Result<int64_t> sys_clock_settime(Task& task, int32_t clock, UserIn<TimeSpec> in);
Result<int64_t> sys_gettimeofday(Task& task, UserOut<TimeVal> time, UserOut<TimeZone> zone);
Result<int64_t> sys_settimeofday(Task& task, UserIn<TimeVal> time, UserIn<TimeZone> zone);
Result<int64_t> sys_time(Task& task, UserOut<int64_t> out);
Result<int64_t> sys_times(Task& task, UserOut<Times> out);
Result<int64_t> sys_getrusage(Task& task, int32_t who, UserOut<ResourceUsage> out);
Result<int64_t> sys_sched_rr_get_interval(Task& task, Pid tid, UserOut<TimeSpec> out);

Result<int64_t> sys_getitimer(Task& task, int32_t which, UserOut<ITimerVal> out);
Result<int64_t> sys_setitimer(Task& task, int32_t which, UserIn<ITimerVal> in, UserOut<ITimerVal> out);
Result<int64_t> sys_alarm(Task& task, uint32_t seconds);
Result<int64_t> sys_timer_create(Task& task, int32_t clock, UserIn<task::SigEvent> event, UserOut<int32_t> id);
Result<int64_t> sys_timer_settime(Task& task, int32_t id, Flags flags, UserIn<ITimerSpec> in, UserOut<ITimerSpec> out);
Result<int64_t> sys_timer_gettime(Task& task, int32_t id, UserOut<ITimerSpec> out);
Result<int64_t> sys_timer_getoverrun(Task& task, int32_t id);
Result<int64_t> sys_timer_delete(Task& task, int32_t id);

}  // namespace kvmsbx::syscalls
