#pragma once
// Scheduling. Model:
// - A Thread is a kernel stack with an fcontext on it. Each task of an application is one; a thread in the Sentry is
//   never preempted, an application in ring 3 is (timer interrupt).
// - The kernel lock: one spin lock that a vCPU holds whenever it runs Sentry code on a thread's stack, from trap entry
//   until it resumes an application or halts. It passes on with the vCPU at a context switch. So Sentry data needs no
//   other lock against parallelism; what is needed across a block (any WaitQueue::wait, Mutex::lock, 9P request,
//   user-memory access that faults) is re-checked after it, or guarded by a Mutex.
// - Run queues: one per vCPU, in order of arrival; a thread waits where the least is to do, and a vCPU whose queue is
//   empty takes from the longest. Real-time threads have one for all vCPUs, by priority, that goes first. A thread has
//   a time slice while others wait, kTimeSlice weighted by its nice value: so shares of a busy vCPU are weighted, too.
//   Affinity is kept per thread.
// - An idle vCPU halts with no timer but the next Timer's deadline (vCPU 0), and is woken by IPI.
// All functions here want the kernel lock held, unless they say otherwise.
#include <cstdint>

#include "common/abi/layout.hpp"
#include "common/base/result.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::sched {

// Monotonic nanoseconds since an arbitrary start; kNever as a deadline waits forever.
using Nanoseconds = uint64_t;
inline constexpr Nanoseconds kNever = ~0ULL;
inline constexpr Nanoseconds kTimeSlice = 10'000'000;

Nanoseconds now();           // CLOCK_MONOTONIC
Nanoseconds realtime_now();  // CLOCK_REALTIME, ns since 1970
Nanoseconds boottime_now();

enum class Interruptible : bool { kNo, kYes };

class Thread : public RefCounted {
  public:
    enum class State : uint8_t { kNew, kRunnable, kRunning, kBlocked, kDead };

    // Allocates the kernel stack. run() is called on it at the first switch.
    Result<> create_stack();
    // The body; must end by calling sched::exit_thread().
    virtual void run() = 0;
    // True when a signal wants to be handled: ends interruptible waits with ERESTARTSYS.
    virtual bool interrupted() const { return false; }
    // Called on the thread's way out of and onto a vCPU (FPU, segment bases).
    virtual void switched_out() {}
    virtual void switched_in() {}

    State state() const { return state_; }
    bool interruptible() const { return interruptible_; }  // while blocked: S or D of ps(1)
    platform::Cpu* last_cpu = nullptr;                     // the vCPU it runs or last ran on
    char* stack() const { return stack_; }
    uint64_t affinity = ~0ULL;  // bit n: may run on vCPU n
    // Bit n: vCPU n can run it, as the platform has it. Where no vCPU of the affinity can, others are taken.
    uint64_t usable_cpus = ~0ULL;
    Nanoseconds cpu_time = 0;        // time on a vCPU so far, Sentry and application
    bool shares_quota = false;       // runs a program: see quota.hpp
    bool awaits_quota = false;       // blocked, but only for it: runnable for who looks at it
    int nice = 0;                    // weighs the time slice
    uint8_t real_time_priority = 0;  // 1..99 goes before all others; 0: shares the time fairly
    bool keeps_cpu = false;          // real-time without a time slice (SCHED_FIFO)
    uint64_t voluntary_switches = 0, involuntary_switches = 0;  // how often it blocked, and how often it had to wait
    struct {
        uint64_t read = 0, written = 0;
    } storage;  // bytes from and to files of the host
    // Where a blocked thread waits: return addresses, innermost first, and how many.
    size_t waits_at(std::span<uint64_t> out) const {
        return state_ == State::kBlocked && context_ ? platform::return_addresses(context_, out) : 0;
    }
    // cpu_time with the present run included.
    Nanoseconds total_cpu_time() const { return cpu_time + (state_ == State::kRunning ? now() - started_ : 0); }

    ~Thread() override;

    ListHook run_hook;

  private:
    friend struct Scheduler;
    friend struct Switching;
    friend struct AwayFromHome;
    char* stack_ = nullptr;  // lowest address; null for an idle thread, whose stack is not its own
    platform::StackHeader* header_ = nullptr;
    void* context_ = nullptr;  // fcontext while switched out
    State state_ = State::kNew;
    bool interruptible_ = false;  // of the present block
    // How often lately it blocked right after it woke another: then the other stays on this vCPU.
    uint8_t quick_blocks_ = 0;
    struct CpuState* waits_for_ = nullptr;  // in whose queue it is; null also for real-time threads
    Nanoseconds started_ = 0;               // when it came onto its vCPU
    Nanoseconds woke_another_ = 0;          // when it last woke a thread
};

// The thread that calls.
inline Thread& current() { return *platform::stack_header().thread; }
// Makes a new thread runnable.
void start(Thread& thread);
// Puts a blocked thread on the run queue; makes one that runs on another vCPU enter the Sentry (to see a signal). No
// effect on others.
void wake(Thread& thread);
// Blocks the caller until wake() (a signal's arrival is one) or the deadline. Spurious returns happen: loop.
void block(Interruptible interruptible, Nanoseconds deadline = kNever);
// Gives the vCPU to the next runnable thread, if there is one.
void yield();
// On the way to ring 3, when should_yield() says so: yields, or waits for a quota of CPU time.
void make_way();
// After a change of affinity: the thread leaves a vCPU that it may no longer use (at once if it is the caller).
void move_to_allowed_cpu(Thread& thread);
// Ends the caller; never returns. The scheduler drops its reference to the thread.
[[noreturn]] void exit_thread();
// True if the caller shall make_way(): another thread waits for this vCPU and the caller's time slice is over, or its
// quota is used up (asked on the way back to ring 3).
extern bool slice_over[abi::kMaxCpus];  // by vCPU; the scheduler's own
inline bool should_yield() { return slice_over[platform::cpu().cpu_id]; }

// Sentry stacks, kStackSize bytes and alignment; null when memory is out. mm/ defines them.
char* allocate_stack();
void free_stack(char* stack);

// Something that wants to know of an event: a blocked thread, or a poll/epoll entry.
class Waiter {
  public:
    // Called by WaitQueue::wake_*; must not block. `events`: EPOLL* bits that happened, or ~0.
    virtual void notify(uint32_t events) = 0;
    ListHook wait_hook;      // in one WaitQueue at most
    bool exclusive = false;  // wake_one stops at it

  protected:
    ~Waiter() = default;
};

class WaitQueue {
  public:
    WaitQueue() = default;
    ~WaitQueue() { waiters_.clear(); }
    void add(Waiter& waiter) { waiters_.push_back(waiter); }
    static void remove(Waiter& waiter) { waiter.wait_hook.unlink(); }
    void wake_all(uint32_t events = ~0U);
    // Wakes the first blocked thread; other waiters (poll) that stand before it are notified too.
    void wake_one(uint32_t events = ~0U);
    bool empty() const { return waiters_.empty(); }

    // Blocks until condition() is true. ERESTARTSYS after a signal, ETIMEDOUT after the deadline.
    template <typename Condition>
    Result<> wait(Condition condition, Interruptible interruptible = Interruptible::kYes,
                  Nanoseconds deadline = kNever) {
        ThreadWaiter waiter;
        while (!condition()) {
            if (interruptible == Interruptible::kYes && current().interrupted()) return Errno::kRESTARTSYS;
            if (deadline != kNever && now() >= deadline) return Errno::kTIMEDOUT;
            add(waiter);
            block(interruptible, deadline);
            if (waiter.wait_hook.is_linked()) remove(waiter);
        }
        return {};
    }

  private:
    struct ThreadWaiter final : Waiter {
        Thread& thread = current();
        ThreadWaiter() { exclusive = true; }
        void notify(uint32_t) override { wake(thread); }
    };
    List<Waiter, &Waiter::wait_hook> waiters_;
};

// A lock that may be held across a block. Not recursive.
class Mutex {
  public:
    void lock() {
        (void)queue_.wait([this] { return !held_; }, Interruptible::kNo).is_ok();
        held_ = true;
    }
    void unlock() {
        held_ = false;
        queue_.wake_one();
    }
    bool is_held() const { return held_; }

  private:
    bool held_ = false;
    WaitQueue queue_;
};

class MutexGuard {
  public:
    explicit MutexGuard(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
    ~MutexGuard() { mutex_.unlock(); }
    MutexGuard(const MutexGuard&) = delete;

  private:
    Mutex& mutex_;
};

// Calls fire() once when its time has come, from an interrupt's service with the kernel lock held: fire() must not
// block.
class Timer {
  public:
    virtual void fire() = 0;
    void arm(Nanoseconds deadline);
    void cancel();
    bool armed() const { return hook_.is_linked(); }
    Nanoseconds deadline() const { return deadline_; }

    TreeHook hook_;

  protected:
    ~Timer() { cancel(); }

  private:
    friend struct Scheduler;
    Nanoseconds deadline_ = kNever;
};

}  // namespace kvmsbx::sched
