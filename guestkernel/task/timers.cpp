// Timers that send signals. Model: each is a sched::Timer that re-arms itself, owned by its process's ProcessTimers,
// which lives from the first use until the last thread ends, so a timer never outlives the process that it signals.
// Timers on CPU time poll: they fire when the process could at the earliest have used up the time, and look.
#include "guestkernel/task/timers.hpp"

#include <algorithm>

#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::task {

namespace {
// Periods that are shorter are counted several at a time, or their interrupts would leave no time to anybody.
constexpr sched::Nanoseconds kShortestPeriod = 50'000;
// How long a timer rests whose signal waits: the signal may go without being taken, when it is ignored from now on.
constexpr sched::Nanoseconds kRest = 4'000'000;

int32_t shown_overrun(uint64_t count) {  // DELAYTIMER_MAX at most
    return count < INT32_MAX ? static_cast<int32_t>(count) : INT32_MAX;
}

}  // namespace

void IntervalTimer::set(sched::Nanoseconds first, sched::Nanoseconds interval) {
    interval_ = interval;
    due_ = first;
    first == sched::kNever ? cancel() : arm(first);
}

TimerSetting IntervalTimer::remaining() const {
    if (!armed()) return {interval_, 0};
    const sched::Nanoseconds now = sched::now();
    if (due_ > now) return {interval_, due_ - now};
    return {interval_, interval_ ? interval_ - (now - due_) % interval_ : 1};
}

uint64_t IntervalTimer::count_periods(sched::Nanoseconds now) {
    if (now < due_) return 0;
    const uint64_t periods = (now - due_) / interval_ + 1;
    const sched::Nanoseconds passed = periods * interval_;
    due_ = due_ < sched::kNever - passed ? due_ + passed : sched::kNever - 1;
    return periods;
}

void IntervalTimer::fire() {
    if (!interval_) {
        expired(0);
        return;
    }
    const sched::Nanoseconds now = sched::now();
    const uint64_t periods = count_periods(now);
    const bool rests = periods > 0 && expired(periods - 1) == SignalWaits::kYes;
    arm(std::max(due_, now + (rests ? kRest : kShortestPeriod)));
}

uint64_t IntervalTimer::resume() {
    if (!armed() || !interval_) return 0;
    const sched::Nanoseconds now = sched::now();
    const uint64_t periods = count_periods(now);
    arm(std::max(due_, now + kShortestPeriod));
    return periods;
}

RealTimer::SignalWaits RealTimer::expired(uint64_t) {
    send_signal(process_, kernel_signal(kSigAlrm));
    return process_.pending.set.has(kSigAlrm) ? SignalWaits::kYes : SignalWaits::kNo;
}

void CpuTimer::set(sched::Nanoseconds value, sched::Nanoseconds interval) {
    interval_ = interval;
    target_ = value ? time() + value : 0;
    value ? poll(value) : cancel();
}

sched::Nanoseconds CpuTimer::time() const {
    return signal_ == kSigVtalrm ? usage_of(process_).user : cpu_time_of(process_);
}

void CpuTimer::poll(sched::Nanoseconds left) { arm(earliest_on_cpu_clock(left)); }

TimerSetting CpuTimer::remaining() const {
    if (!target_) return {interval_, 0};
    const sched::Nanoseconds used = time();
    return {interval_, target_ > used ? target_ - used : 1};
}

void CpuTimer::fire() {
    const sched::Nanoseconds used = time();
    if (used < target_) return poll(target_ - used);
    target_ = interval_ ? used + interval_ : 0;
    if (interval_) poll(interval_);
    send_signal(process_, kernel_signal(signal_));
}

void PosixTimer::set_on_cpu(sched::Nanoseconds target, sched::Nanoseconds interval) {
    cpu_target_ = target, cpu_interval_ = interval;
    target ? arm(sched::now()) : cancel();  // looks at once, from the next interrupt
}

TimerSetting PosixTimer::remaining_on_cpu() const {
    auto used = cpu_clock_now(clock);
    if (!cpu_target_ || used.is_error()) return {cpu_interval_, 0};
    return {cpu_interval_, cpu_target_ > used.value() ? cpu_target_ - used.value() : 1};
}

void PosixTimer::fire() {
    if (!on_cpu_clock()) return IntervalTimer::fire();
    auto used = cpu_clock_now(clock);
    if (used.is_error()) return;  // what it measured has ended
    if (used.value() < cpu_target_) return arm(earliest_on_cpu_clock(cpu_target_ - used.value()));
    const uint64_t missed = cpu_interval_ ? (used.value() - cpu_target_) / cpu_interval_ : 0;
    cpu_target_ = cpu_interval_ ? cpu_target_ + (missed + 1) * cpu_interval_ : 0;
    if (cpu_target_) arm(earliest_on_cpu_clock(cpu_target_ - used.value()));
    expired(missed);
}

void CpuLimit::watch() {
    const uint64_t limit = process_.limits[kRlimitCpu].soft;
    if (limit == kRlimInfinity) return cancel();
    arm(sched::now());
}

// RLIMIT_CPU (check_process_timers): SIGXCPU at the soft limit and each second from then on, SIGKILL at the hard one.
void CpuLimit::fire() {
    Rlimit& limit = process_.limits[kRlimitCpu];
    if (limit.soft == kRlimInfinity) return;
    const sched::Nanoseconds used = cpu_time_of(process_);
    if (limit.hard != kRlimInfinity && used >= limit.hard * kNsPerSecond)
        return send_signal(process_, kernel_signal(kSigKill));
    if (used >= limit.soft * kNsPerSecond) {
        send_signal(process_, kernel_signal(kSigXcpu));
        ++limit.soft;
    }
    arm(earliest_on_cpu_clock(limit.soft * kNsPerSecond - used));
}

PosixTimer::SignalWaits PosixTimer::expired(uint64_t missed) {
    if (event_.notify == kSigevNone) return SignalWaits::kNo;
    // One signal per timer waits at most; what comes meanwhile is counted (timer_getoverrun(2)).
    Task* thread = event_.notify & kSigevThreadId ? find_task(event_.thread_id) : nullptr;
    if (event_.notify & kSigevThreadId && !thread) return SignalWaits::kNo;
    PendingSignals& pending = thread ? thread->pending : process_.pending;
    if (pending.has_timer(id)) {
        pending.add_overrun(id, 1 + missed);
        return SignalWaits::kYes;
    }
    SigInfo info;
    info.signo = event_.signo;
    info.code = kSiTimer;
    info.timer.timer_id = id;
    info.timer.overrun = shown_overrun(missed);
    info.timer.value = event_.value;
    thread ? send_signal(*thread, info) : send_signal(process_, info);
    return pending.has_timer(id) ? SignalWaits::kYes : SignalWaits::kNo;
}

void PosixTimer::signal_taken(SigInfo& info) {
    const uint64_t periods = on_cpu_clock() ? 0 : resume();
    info.timer.overrun = shown_overrun(static_cast<uint64_t>(info.timer.overrun) + periods);
    overrun_ = info.timer.overrun;
}

PosixTimer* ProcessTimers::find(int id) {
    for (auto& timer : posix)
        if (timer->id == id) return timer.get();
    return nullptr;
}

void ProcessTimers::remove(int id) {
    for (size_t i = 0; i < posix.size(); ++i) {
        if (posix[i]->id != id) continue;
        posix[i]->cancel();
        posix.erase(i);
        return;
    }
}

Result<ProcessTimers*> ProcessTimers::of(Process& process) {
    if (!process.timers) process.timers = TRY(make_ref<ProcessTimers>(process));
    return process.timers.get();
}

void resume_timer(Process& process, SigInfo& info) {
    if (!process.timers) return;
    if (info.signo == kSigAlrm && info.code == kSiKernel) (void)process.timers->real.resume();
    if (info.code != kSiTimer) return;
    if (PosixTimer* timer = process.timers->find(info.timer.timer_id)) timer->signal_taken(info);
}

void drop_posix_timers(Process& process) {
    if (process.timers) process.timers->posix.clear();
}

void drop_all_timers(Process& process) { process.timers = nullptr; }

}  // namespace kvmsbx::task
