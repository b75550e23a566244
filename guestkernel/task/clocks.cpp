#include "guestkernel/task/clocks.hpp"

#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::task {
namespace {

constexpr int64_t kMostSeconds = INT64_MAX / static_cast<int64_t>(kNsPerSecond);

// clockid_t of a process's or thread's CPU clock (include/linux/posix-timers.h): ~pid << 3 | 4 for a thread | which.
struct CpuClock {
    int32_t id;
    bool thread;
    unsigned which;
};
CpuClock decode_cpu_clock(int32_t clock) { return {~(clock >> 3), (clock & 4) != 0, static_cast<unsigned>(clock & 3)}; }

Result<sched::Nanoseconds> cpu_clock_time(Task& task, int32_t clock) {
    const CpuClock decoded = decode_cpu_clock(clock);
    if (decoded.which >= 3) return Errno::kINVAL;
    if (decoded.thread) {
        const Task* target = decoded.id == 0 ? &task : find_task(decoded.id);
        if (!target || &target->process() != &task.process()) return Errno::kINVAL;
        return cpu_time_of(*target);
    }
    const Process* process = decoded.id == 0 ? &task.process() : find_process(decoded.id);
    if (!process) return Errno::kINVAL;
    return cpu_time_of(*process);
}

constexpr int32_t encode_cpu_clock(int32_t id, bool thread) {
    constexpr int32_t kScheduler = 2;  // CPUCLOCK_SCHED
    return static_cast<int32_t>(static_cast<uint32_t>(~id) << 3) | (thread ? 4 : 0) | kScheduler;
}

}  // namespace

Result<int32_t> cpu_clock_for_all(const Task& task, int32_t clock) {
    if (clock == kClockProcessCpu) return encode_cpu_clock(task.process().pid, false);
    if (clock == kClockThreadCpu) return encode_cpu_clock(task.tid, true);
    if (clock >= 0) return Errno::kINVAL;
    const CpuClock decoded = decode_cpu_clock(clock);
    if (decoded.which >= 3) return Errno::kINVAL;
    if (!decoded.thread) {
        if (decoded.id && !find_process(decoded.id)) return Errno::kINVAL;
        return encode_cpu_clock(decoded.id ? decoded.id : task.process().pid, false);
    }
    const Task* target = decoded.id ? find_task(decoded.id) : &task;
    if (!target || &target->process() != &task.process()) return Errno::kINVAL;
    return encode_cpu_clock(target->tid, true);
}

Result<sched::Nanoseconds> cpu_clock_now(int32_t clock) {
    const CpuClock decoded = decode_cpu_clock(clock);
    if (decoded.thread) {
        const Task* target = find_task(decoded.id);
        if (!target) return Errno::kINVAL;
        return cpu_time_of(*target);
    }
    const Process* process = find_process(decoded.id);
    if (!process) return Errno::kINVAL;
    return cpu_time_of(*process);
}

sched::Nanoseconds earliest_on_cpu_clock(sched::Nanoseconds left) {
    constexpr sched::Nanoseconds kShortestPoll = 1'000'000;
    const sched::Nanoseconds soonest = left / platform::boot_info().cpu_count;
    return saturating_add(sched::now(), soonest > kShortestPoll ? soonest : kShortestPoll);
}

sched::Nanoseconds to_nanoseconds(const TimeSpec& t) {
    if (t.seconds >= kMostSeconds) return sched::kNever;
    return static_cast<uint64_t>(t.seconds) * kNsPerSecond + static_cast<uint64_t>(t.nanoseconds);
}

TimeSpec to_timespec(sched::Nanoseconds ns) {
    return {static_cast<int64_t>(ns / kNsPerSecond), static_cast<int64_t>(ns % kNsPerSecond)};
}

TimeVal to_timeval(sched::Nanoseconds ns) {
    return {static_cast<int64_t>(ns / kNsPerSecond), static_cast<int64_t>(ns % kNsPerSecond / kNsPerMicrosecond)};
}

sched::Nanoseconds monotonic_of_realtime(sched::Nanoseconds realtime) {
    const sched::Nanoseconds now = sched::now(), present = sched::realtime_now();
    return realtime <= present ? now : saturating_add(now, realtime - present);
}

Result<sched::Nanoseconds> monotonic_of(int32_t clock, sched::Nanoseconds absolute) {
    switch (clock) {
        case kClockMonotonic: return absolute;
        case kClockRealtime:
        case kClockRealtimeAlarm:
        case kClockTai: return monotonic_of_realtime(absolute);
        case kClockBoottime:
        case kClockBoottimeAlarm: {
            const sched::Nanoseconds now = sched::now(), present = sched::boottime_now();
            return absolute <= present ? now : saturating_add(now, absolute - present);
        }
        case kClockProcessCpu:
        case kClockThreadCpu:
        case kClockMonotonicRaw:
        case kClockRealtimeCoarse:
        case kClockMonotonicCoarse: return Errno::kOPNOTSUPP;
        default: return Errno::kINVAL;
    }
}

Result<sched::Nanoseconds> clock_time(Task& task, int32_t clock) {
    switch (clock) {
        case kClockRealtime:
        case kClockRealtimeCoarse:
        case kClockRealtimeAlarm:
        case kClockTai: return sched::realtime_now();
        case kClockMonotonic:
        case kClockMonotonicRaw:
        case kClockMonotonicCoarse: return sched::now();
        case kClockBoottime:
        case kClockBoottimeAlarm: return sched::boottime_now();
        case kClockProcessCpu: return cpu_time_of(task.process());
        case kClockThreadCpu: return cpu_time_of(task);
        default: break;
    }
    if (clock < 0) return cpu_clock_time(task, clock);
    return Errno::kINVAL;
}

Result<sched::Nanoseconds> clock_resolution(Task& task, int32_t clock) {
    TRY(clock_time(task, clock));
    // No clock here is coarser than another; Linux's coarse ones tick at 250 Hz.
    return clock == kClockRealtimeCoarse || clock == kClockMonotonicCoarse ? sched::Nanoseconds{4'000'000}
                                                                           : sched::Nanoseconds{1};
}

CpuUsage usage_of(const Task& task) { return task.usage(); }

CpuUsage usage_of(const Process& process) {
    CpuUsage sum = process.dead_threads_usage;
    for (const Task& task : process.threads) sum += task.usage();
    return sum;
}

}  // namespace kvmsbx::task
