#pragma once
// Timers of a process that send signals: setitimer(2), alarm(2), timer_create(2). timers.cpp has the model.
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/sched/sched.hpp"
#include "guestkernel/task/signal.hpp"

namespace kvmsbx::task {

class Process;
class Task;

// struct sigevent, as timer_create(2) takes it.
struct SigEvent {
    uint64_t value;
    int32_t signo;
    int32_t notify;  // SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2, SIGEV_THREAD_ID 4
    int32_t thread_id;
    int32_t pad[11];
};
static_assert(sizeof(SigEvent) == 64);
inline constexpr int kSigevSignal = 0, kSigevNone = 1, kSigevThreadId = 4;

struct TimerSetting {  // struct itimerspec in nanoseconds; value 0: disarmed
    sched::Nanoseconds interval = 0, value = 0;
};

// A timer on the monotonic clock that repeats. As on Linux it rests while the signal of its last expiry waits: periods
// that are shorter than a signal's way would leave no time to anybody.
class IntervalTimer : public sched::Timer {
  public:
    // first: absolute deadline on sched::now()'s clock, kNever disarms.
    void set(sched::Nanoseconds first, sched::Nanoseconds interval);
    TimerSetting remaining() const;
    void fire() override;
    // Its signal was taken: periods are watched again. How many have ended since the last expiry that was noticed.
    uint64_t resume();

  protected:
    enum class SignalWaits { kNo, kYes };
    // `missed`: periods that passed unnoticed besides this one.
    virtual SignalWaits expired(uint64_t missed) = 0;
    ~IntervalTimer() = default;

  private:
    uint64_t count_periods(sched::Nanoseconds now);  // that have ended and were not counted; of a timer that repeats
    sched::Nanoseconds interval_ = 0;
    sched::Nanoseconds due_ = sched::kNever;  // the end of the first period that is not counted
};

class RealTimer final : public IntervalTimer {  // ITIMER_REAL
  public:
    explicit RealTimer(Process& process) : process_(process) {}

  private:
    SignalWaits expired(uint64_t missed) override;
    Process& process_;
};

// ITIMER_VIRTUAL and ITIMER_PROF: on the CPU time of the process.
class CpuTimer final : public sched::Timer {
  public:
    CpuTimer(Process& process, int signal) : process_(process), signal_(signal) {}
    // value: from now, 0 disarms.
    void set(sched::Nanoseconds value, sched::Nanoseconds interval);
    TimerSetting remaining() const;
    void fire() override;

  private:
    sched::Nanoseconds time() const;  // what it counts
    void poll(sched::Nanoseconds left);
    Process& process_;
    const int signal_;
    sched::Nanoseconds target_ = 0, interval_ = 0;
};

class PosixTimer final : public IntervalTimer, public RefCounted {
  public:
    PosixTimer(Process& process, int id, int clock, const SigEvent& event)
        : id(id), clock(clock), process_(process), event_(event) {}
    const int id;
    const int clock;
    bool on_cpu_clock() const { return clock < 0; }
    // In that clock's time; target: absolute, 0 disarms.
    void set_on_cpu(sched::Nanoseconds target, sched::Nanoseconds interval);
    TimerSetting remaining_on_cpu() const;
    void fire() override;
    // Overruns of the last expiry that was signalled.
    int32_t overrun() const { return overrun_; }
    // `info` leaves the queue: gets the overruns until now.
    void signal_taken(SigInfo& info);

  private:
    SignalWaits expired(uint64_t missed) override;
    Process& process_;
    SigEvent event_;
    int32_t overrun_ = 0;
    sched::Nanoseconds cpu_target_ = 0, cpu_interval_ = 0;
};

// RLIMIT_CPU.
class CpuLimit final : public sched::Timer {
  public:
    explicit CpuLimit(Process& process) : process_(process) {}
    void watch();  // after a change of the limit
    void fire() override;

  private:
    Process& process_;
};

class ProcessTimers : public RefCounted {
  public:
    explicit ProcessTimers(Process& process)
        : real(process), virtual_(process, kSigVtalrm), profile(process, kSigProf), cpu_limit(process) {}
    RealTimer real;
    CpuTimer virtual_, profile;
    CpuLimit cpu_limit;
    Vector<RefPtr<PosixTimer>> posix;
    int next_id = 0;
    PosixTimer* find(int id);
    void remove(int id);
    // The timers of `process`, made on first use. ENOMEM.
    static Result<ProcessTimers*> of(Process& process);
};

// A signal of `process` was taken from its queue: the timer that sent it goes on.
void resume_timer(Process& process, SigInfo& info);

// execve(2): POSIX timers go, interval timers stay.
void drop_posix_timers(Process& process);
// The last thread ended.
void drop_all_timers(Process& process);

}  // namespace kvmsbx::task
