#include "guestkernel/syscalls/handlers_time.hpp"

#include <algorithm>

#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::syscalls {

using namespace task;

namespace {

constexpr uint64_t kTimerAbstime = 1;
enum Who : int32_t { kRusageChildren = -1, kRusageSelf = 0, kRusageThread = 1 };

// Until the deadline, or false for a signal.
bool sleep_until(Task& task, sched::Nanoseconds deadline) {
    while (sched::now() < deadline) {
        if (has_pending_signal(task)) return false;
        sched::block(sched::Interruptible::kYes, deadline);
    }
    return true;
}

// A relative sleep: goes on after a stop, or tells what remained if a handler runs.
Result<int64_t> sleep_relative(Task& task, sched::Nanoseconds deadline, uint64_t remaining);

Result<int64_t> resume_sleep(Task& task) {
    return sleep_relative(task, task.restart.deadline, task.restart.remainder_address);
}

Result<int64_t> sleep_relative(Task& task, sched::Nanoseconds deadline, uint64_t remaining) {
    if (sleep_until(task, deadline)) return 0;
    const sched::Nanoseconds now = sched::now();
    if (now >= deadline) return 0;
    if (remaining) TRY(UserOut<TimeSpec>{remaining}.store(task.space(), to_timespec(deadline - now)));
    task.restart.kind = Task::Restart::kNanosleep;
    task.restart.deadline = deadline;
    task.restart.remainder_address = remaining;
    task.restart.resume = resume_sleep;
    return Errno::kRESTART_RESTARTBLOCK;
}

// posix_cpu_nsleep: until a process or thread has used so much CPU time. One's own thread's clock would never get
// there.
Result<int64_t> sleep_on_cpu_clock(Task& task, int32_t clock, uint64_t flags, UserIn<TimeSpec> wanted,
                                   UserOut<TimeSpec> remaining) {
    const int32_t id = TRY(cpu_clock_for_all(task, clock));
    const TimeSpec time = TRY(wanted.load(task.space()));
    if (!is_valid(time) || id == TRY(cpu_clock_for_all(task, kClockThreadCpu))) return Errno::kINVAL;
    sched::Nanoseconds target = to_nanoseconds(time);
    if (!(flags & kTimerAbstime)) target = saturating_add(target, TRY(cpu_clock_now(id)));
    for (;;) {
        const sched::Nanoseconds used = TRY(cpu_clock_now(id));
        if (used >= target) return 0;
        if (has_pending_signal(task)) {
            if (flags & kTimerAbstime) return Errno::kRESTARTNOHAND;
            if (remaining) TRY(remaining.store(task.space(), to_timespec(target - used)));
            return Errno::kINTR;
        }
        sched::block(sched::Interruptible::kYes, earliest_on_cpu_clock(target - used));
    }
}

}  // namespace

ResourceUsage to_rusage(const CpuUsage& usage, uint64_t resident_pages) {
    ResourceUsage out{};
    out.user = to_timeval(usage.user);
    out.system = to_timeval(usage.system);
    const uint64_t most = std::max(usage.most_resident, resident_pages);
    out.max_resident_kib = static_cast<int64_t>(most * mm::kPageSize / 1024);
    out.minor_faults = static_cast<int64_t>(usage.minor_faults);
    out.major_faults = static_cast<int64_t>(usage.major_faults);
    out.blocks_in = static_cast<int64_t>(usage.io.read_bytes / 512);
    out.blocks_out = static_cast<int64_t>(usage.io.written_bytes / 512);
    out.voluntary_switches = static_cast<int64_t>(usage.voluntary_switches);
    out.involuntary_switches = static_cast<int64_t>(usage.involuntary_switches);
    return out;
}

Result<int64_t> sys_nanosleep(Task& task, UserIn<TimeSpec> wanted, UserOut<TimeSpec> remaining) {
    const TimeSpec time = TRY(wanted.load(task.space()));
    if (!is_valid(time)) return Errno::kINVAL;
    return sleep_relative(task, saturating_add(sched::now(), to_nanoseconds(time)), remaining.address);
}

Result<int64_t> sys_clock_nanosleep(Task& task, int32_t clock, Flags flags, UserIn<TimeSpec> wanted,
                                    UserOut<TimeSpec> remaining) {
    if (clock == kClockProcessCpu || clock < 0) return sleep_on_cpu_clock(task, clock, flags, wanted, remaining);
    TRY(monotonic_of(clock, 0));
    const TimeSpec time = TRY(wanted.load(task.space()));
    if (!is_valid(time)) return Errno::kINVAL;
    const sched::Nanoseconds ns = to_nanoseconds(time);
    if (!(flags & kTimerAbstime)) return sleep_relative(task, saturating_add(sched::now(), ns), remaining.address);
    if (!sleep_until(task, TRY(monotonic_of(clock, ns)))) return Errno::kRESTARTNOHAND;
    return 0;
}

Result<int64_t> sys_clock_gettime(Task& task, int32_t clock, UserOut<TimeSpec> out) {
    TRY(out.store(task.space(), to_timespec(TRY(clock_time(task, clock)))));
    return 0;
}

Result<int64_t> sys_clock_getres(Task& task, int32_t clock, UserOut<TimeSpec> out) {
    const sched::Nanoseconds resolution = TRY(clock_resolution(task, clock));
    if (out) TRY(out.store(task.space(), to_timespec(resolution)));
    return 0;
}

Result<int64_t> sys_clock_settime(Task& task, int32_t clock, UserIn<TimeSpec> in) {
    const bool settable = clock == kClockRealtime || clock == kClockProcessCpu || clock == kClockThreadCpu;
    if (!settable) return Errno::kINVAL;
    if (!is_valid(TRY(in.load(task.space())))) return Errno::kINVAL;
    return Errno::kPERM;
}

Result<int64_t> sys_gettimeofday(Task& task, UserOut<TimeVal> time, UserOut<TimeZone> zone) {
    if (time) TRY(time.store(task.space(), to_timeval(sched::realtime_now())));
    if (zone) TRY(zone.store(task.space(), TimeZone{0, 0}));
    return 0;
}

Result<int64_t> sys_settimeofday(Task& task, UserIn<TimeVal> time, UserIn<TimeZone> zone) {
    if (time) {
        const TimeVal wanted = TRY(time.load(task.space()));
        if (wanted.microseconds < 0 || wanted.microseconds >= 1'000'000) return Errno::kINVAL;
    }
    if (zone) TRY(zone.load(task.space()));
    return Errno::kPERM;
}

Result<int64_t> sys_time(Task& task, UserOut<int64_t> out) {
    const auto seconds = static_cast<int64_t>(sched::realtime_now() / kNsPerSecond);
    if (out) TRY(out.store(task.space(), seconds));
    return seconds;
}

Result<int64_t> sys_times(Task& task, UserOut<Times> out) {
    if (out) {
        const CpuUsage own = usage_of(task.process()), &children = task.process().children_usage;
        const auto ticks = [](sched::Nanoseconds ns) { return static_cast<int64_t>(ns / kNsPerTick); };
        TRY(out.store(task.space(),
                      Times{ticks(own.user), ticks(own.system), ticks(children.user), ticks(children.system)}));
    }
    return static_cast<int64_t>(sched::boottime_now() / kNsPerTick);
}

Result<int64_t> sys_getrusage(Task& task, int32_t who, UserOut<ResourceUsage> out) {
    ResourceUsage usage;
    switch (who) {
        case kRusageSelf: usage = to_rusage(usage_of(task.process()), task.space().peak_resident_pages()); break;
        case kRusageThread: usage = to_rusage(usage_of(task), task.space().peak_resident_pages()); break;
        case kRusageChildren: usage = to_rusage(task.process().children_usage, 0); break;
        default: return Errno::kINVAL;
    }
    TRY(out.store(task.space(), usage));
    return 0;
}

Result<int64_t> sys_sched_rr_get_interval(Task& task, Pid tid, UserOut<TimeSpec> out) {
    if (tid < 0) return Errno::kINVAL;
    if (tid != 0 && !find_task(tid)) return Errno::kSRCH;
    TRY(out.store(task.space(), to_timespec(sched::kTimeSlice)));
    return 0;
}

}  // namespace kvmsbx::syscalls
