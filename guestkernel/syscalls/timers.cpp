#include "guestkernel/task/timers.hpp"

#include "guestkernel/syscalls/handlers_time.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

using namespace task;

namespace {

enum Which : int32_t { kReal = 0, kVirtual = 1, kProfile = 2 };
constexpr uint64_t kTimerAbstime = 1;
constexpr int32_t kSigevThread = 2;
constexpr uint64_t kHalfSecond = kNsPerSecond / 2;

bool is_valid_time(const TimeVal& t) { return t.seconds >= 0 && t.microseconds >= 0 && t.microseconds < 1'000'000; }

sched::Nanoseconds from_timeval(const TimeVal& t) {
    return to_nanoseconds(TimeSpec{t.seconds, t.microseconds * static_cast<int64_t>(kNsPerMicrosecond)});
}

// What is left shows at least a microsecond while it runs.
ITimerVal to_itimerval(const TimerSetting& setting) {
    const sched::Nanoseconds value =
        setting.value && setting.value < kNsPerMicrosecond ? kNsPerMicrosecond : setting.value;
    return {to_timeval(setting.interval), to_timeval(value)};
}

ITimerSpec to_itimerspec(const TimerSetting& setting) {
    return {to_timespec(setting.interval), to_timespec(setting.value)};
}

sched::Nanoseconds deadline_in(sched::Nanoseconds value) {
    return value ? saturating_add(sched::now(), value) : sched::kNever;
}

// ITIMER_*: reads, and sets if `wanted`.
Result<TimerSetting> exchange(Process& process, int32_t which, const TimerSetting* wanted) {
    if (which < kReal || which > kProfile) return Errno::kINVAL;
    if (!process.timers && !wanted) return TimerSetting{};
    ProcessTimers* timers = TRY(ProcessTimers::of(process));
    if (which == kReal) {
        const TimerSetting before = timers->real.remaining();
        if (wanted) timers->real.set(deadline_in(wanted->value), wanted->interval);
        return before;
    }
    CpuTimer& timer = which == kVirtual ? timers->virtual_ : timers->profile;
    const TimerSetting before = timer.remaining();
    if (wanted) timer.set(wanted->value, wanted->interval);
    return before;
}

bool is_good_event(Task& task, const SigEvent& event) {
    const bool good_signal = event.signo >= 1 && event.signo <= kSigMax;
    switch (event.notify) {
        case kSigevNone: return true;
        case kSigevSignal:
        case kSigevThread: return good_signal;
        case kSigevThreadId: {
            Task* target = find_task(event.thread_id);
            return good_signal && target && &target->process() == &task.process();
        }
        default: return false;
    }
}

TimerSetting setting_of(const PosixTimer& timer) {
    return timer.on_cpu_clock() ? timer.remaining_on_cpu() : timer.remaining();
}

Result<PosixTimer*> posix_timer(Task& task, int32_t id) {
    PosixTimer* timer = task.process().timers ? task.process().timers->find(id) : nullptr;
    if (!timer) return Errno::kINVAL;
    return timer;
}

}  // namespace

Result<int64_t> sys_getitimer(Task& task, int32_t which, UserOut<ITimerVal> out) {
    TRY(out.store(task.space(), to_itimerval(TRY(exchange(task.process(), which, nullptr)))));
    return 0;
}

Result<int64_t> sys_setitimer(Task& task, int32_t which, UserIn<ITimerVal> in, UserOut<ITimerVal> out) {
    TimerSetting wanted;
    if (in) {
        const ITimerVal loaded = TRY(in.load(task.space()));
        if (!is_valid_time(loaded.value) || !is_valid_time(loaded.interval)) return Errno::kINVAL;
        wanted = {from_timeval(loaded.interval), from_timeval(loaded.value)};
    }
    const TimerSetting before = TRY(exchange(task.process(), which, &wanted));
    if (out) TRY(out.store(task.space(), to_itimerval(before)));
    return 0;
}

Result<int64_t> sys_alarm(Task& task, uint32_t seconds) {
    const TimerSetting wanted{0, seconds * kNsPerSecond};
    const TimerSetting before = TRY(exchange(task.process(), kReal, &wanted));
    const uint64_t whole = before.value / kNsPerSecond, rest = before.value % kNsPerSecond;
    // Rounded, but what still runs is never 0 (alarm_setitimer).
    return static_cast<int64_t>(whole + (rest >= kHalfSecond || (whole == 0 && rest > 0)));
}

Result<int64_t> sys_timer_create(Task& task, int32_t clock, UserIn<SigEvent> event, UserOut<int32_t> id) {
    if (clock == kClockProcessCpu || clock == kClockThreadCpu || clock < 0)
        clock = TRY(cpu_clock_for_all(task, clock));
    else
        TRY(monotonic_of(clock, 0));
    ProcessTimers* timers = TRY(ProcessTimers::of(task.process()));
    if (timers->posix.size() >= task.limit(kRlimitSigpending)) return Errno::kAGAIN;
    const int32_t number = timers->next_id++;
    SigEvent wanted{};
    wanted.signo = kSigAlrm;
    wanted.notify = kSigevSignal;
    wanted.value = static_cast<uint64_t>(number);
    if (event) {
        wanted = TRY(event.load(task.space()));
        if (!is_good_event(task, wanted)) return Errno::kINVAL;
    }
    auto timer = TRY(make_ref<PosixTimer>(task.process(), number, clock, wanted));
    TRY(id.store(task.space(), number));
    TRY(timers->posix.push_back(std::move(timer)));
    return 0;
}

Result<int64_t> sys_timer_settime(Task& task, int32_t id, Flags flags, UserIn<ITimerSpec> in, UserOut<ITimerSpec> out) {
    if (!in) return Errno::kINVAL;
    const ITimerSpec wanted = TRY(in.load(task.space()));
    if (!is_valid(wanted.value) || !is_valid(wanted.interval)) return Errno::kINVAL;
    PosixTimer* timer = TRY(posix_timer(task, id));
    const TimerSetting before = setting_of(*timer);
    const sched::Nanoseconds value = to_nanoseconds(wanted.value);
    if (timer->on_cpu_clock()) {
        const bool relative = value && !(flags & kTimerAbstime);
        const sched::Nanoseconds base = relative ? cpu_clock_now(timer->clock).value_or(0) : 0;
        timer->set_on_cpu(saturating_add(base, value), to_nanoseconds(wanted.interval));
        if (out) TRY(out.store(task.space(), to_itimerspec(before)));
        return 0;
    }
    sched::Nanoseconds first = deadline_in(value);
    if (value && flags & kTimerAbstime) first = TRY(monotonic_of(timer->clock, value));
    timer->set(first, to_nanoseconds(wanted.interval));
    if (out) TRY(out.store(task.space(), to_itimerspec(before)));
    return 0;
}

Result<int64_t> sys_timer_gettime(Task& task, int32_t id, UserOut<ITimerSpec> out) {
    const TimerSetting setting = setting_of(*TRY(posix_timer(task, id)));
    TRY(out.store(task.space(), to_itimerspec(setting)));
    return 0;
}

Result<int64_t> sys_timer_getoverrun(Task& task, int32_t id) { return TRY(posix_timer(task, id))->overrun(); }

Result<int64_t> sys_timer_delete(Task& task, int32_t id) {
    TRY(posix_timer(task, id));
    task.process().timers->remove(id);
    return 0;
}

}  // namespace kvmsbx::syscalls
