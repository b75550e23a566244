// vCPUs: running the application, waiting, interrupts and timers.
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "vmm/process/futex.hpp"
#include "vmm/process/host.hpp"

namespace kvmsbx::vmm {
namespace {

// In ns. A runner that was told to trap is suspected when its stub has used kPatience of CPU time since, or when
// kLongestPatience has passed. The runner refuses if it has not trapped when the vCPU's thread has competed for kTurns.
constexpr uint64_t kPatience = 100'000'000, kLongestPatience = 400'000'000, kTurns = 20'000'000;
constexpr uint64_t kLongestSleep = 1'000'000'000;  // ns: a wake-up that an application swallowed is found then

// Spinning, in TSC ticks: what is a quick trap, and how long to leave it when it did not pay.
constexpr uint64_t kQuickTicks = 100'000, kShortestPause = 2'000'000, kLongestPause = 500'000'000;
constexpr unsigned kQuickTraps = 24;    // in a row, before two processors are taken
constexpr unsigned kWorthwhile = 1000;  // traps served by spinning
constexpr uint32_t kSpinRounds = 1500;  // of the runner, before it sleeps

constexpr uint32_t number(abi::RunnerState state) { return static_cast<uint32_t>(state); }
constexpr uint64_t bit(uint8_t vector) { return uint64_t{1} << (vector - abi::kVectorFirst); }

void note(abi::CpuArea* area, uint8_t vector) {
    __atomic_fetch_or(&area->pending_interrupts, bit(vector), __ATOMIC_SEQ_CST);
}

void preempt(int32_t pid, int32_t tid) { syscall(SYS_tgkill, pid, tid, abi::kPreemptSignal); }

uint64_t read_clock(clockid_t clock) {
    timespec time{};
    if (clock_gettime(clock, &time) != 0) return ~uint64_t{0};
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// CPU time of this thread, and of a process, in ns; of one that has ended, all that there is. The second clock is Linux's
// own (include/linux/posix-timers.h: CPUCLOCK_SCHED), which clock_getcpuclockid(3) makes with one more system call.
uint64_t thread_time() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }
uint64_t process_time(int32_t pid) { return read_clock(static_cast<clockid_t>(~static_cast<uint32_t>(pid) << 3 | 2)); }

bool drain(int fd) {
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count;
}

}  // namespace

void ProcessHost::set_timer(abi::CpuArea* area, uint64_t ns) {
    cpus_[cpu_of(area)].timer = ns == 0 ? 0 : monotonic_ns() + ns;
}

bool ProcessHost::interrupt_waits(abi::CpuArea* area) {
    Cpu& cpu = cpus_[cpu_of(area)];
    if (cpu.timer != 0 && monotonic_ns() >= cpu.timer) {
        cpu.timer = 0;
        note(area, abi::kVectorTimer);
    }
    return __atomic_load_n(&area->pending_interrupts, __ATOMIC_SEQ_CST) != 0;
}

void ProcessHost::interrupt(unsigned index, uint8_t vector) {
    Cpu& cpu = cpus_[index];
    note(cpu.area, vector);
    switch (cpu.mode.load()) {
        case Mode::kSentry: break;  // looks before it waits or runs
        case Mode::kIdle: {
            uint64_t one = 1;
            ssize_t ignored = write(cpu.interrupt_fd.get(), &one, sizeof one);
            static_cast<void>(ignored);
            break;
        }
        case Mode::kUser: {
            uint64_t runner = cpu.runner.load();
            preempt(static_cast<int32_t>(runner >> 32), static_cast<int32_t>(runner));
            break;
        }
    }
}

void ProcessHost::take_completion() {
    if (drain(gofer_completion_fd_)) interrupt(0u, abi::kVectorGofer);
}

void ProcessHost::wait(abi::CpuArea* area) {
    Cpu& cpu = cpus_[cpu_of(area)];
    cpu.processor = sched_getcpu();
    cpu.mode = Mode::kIdle;
    while (!interrupt_waits(area)) {
        pollfd polled[] = {{cpu.interrupt_fd.get(), POLLIN, 0}, {gofer_completion_fd_, POLLIN, 0}};
        uint64_t now = monotonic_ns();
        uint64_t ns = cpu.timer <= now ? 0 : cpu.timer - now;
        timespec timeout{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
        ppoll(polled, std::size(polled), cpu.timer != 0 ? &timeout : nullptr, nullptr);
        if (polled[0].revents != 0) drain(cpu.interrupt_fd.get());
        if (polled[1].revents != 0 && drain(gofer_completion_fd_)) note(area, abi::kVectorGofer);
    }
    cpu.mode = Mode::kSentry;
}

// A wake-up is cheap on the processor that makes it and dear on any other.
void ProcessHost::move_here(int32_t tid) { move_to(tid, sched_getcpu()); }

void ProcessHost::move_to(int32_t tid, int here) {
    if (here < 0 || here >= CPU_SETSIZE) return;
    std::atomic<uint64_t>& known = affinities_[static_cast<uint32_t>(tid) % kAffinities];
    uint64_t wanted = uint64_t{static_cast<uint32_t>(tid)} << 32 | static_cast<uint64_t>(here + 1);
    if (known.load(std::memory_order_relaxed) == wanted) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(here, &set);
    sched_setaffinity(tid, sizeof set, &set);
    known.store(wanted, std::memory_order_relaxed);
}

int64_t ProcessHost::run(abi::CpuArea* area, abi::RunnerControl* control, int32_t pid, int32_t tid) {
    Cpu& cpu = cpus_[cpu_of(area)];
    Slot* slot = find(pid);
    if (slot == nullptr) return -ESRCH;
    uint64_t runner = uint64_t{static_cast<uint32_t>(pid)} << 32 | static_cast<uint32_t>(tid);
    choose_spinning(cpu, runner);
    bool spins = cpu.spinning.processor >= 0;
    if (spins)
        move_to(tid, cpu.spinning.processor);
    else
        move_here(tid);
    cpu.control = control;
    cpu.runner = runner;
    __atomic_store_n(&control->spin, spins ? kSpinRounds : 0, __ATOMIC_RELAXED);
    __atomic_store_n(&control->vcpu_sleeps, spins ? 0 : 1, __ATOMIC_RELAXED);
    cpu.mode = Mode::kUser;
    __atomic_store_n(&control->state, number(abi::RunnerState::kRunning), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&control->runner_sleeps, __ATOMIC_SEQ_CST) != 0) futex_wake_all(&control->state);
    uint64_t begin = __builtin_ia32_rdtsc();
    if (!spins || !spin(cpu, control)) watch(cpu, control, *slot, pid, tid);
    cpu.spinning.quick = __builtin_ia32_rdtsc() - begin < kQuickTicks ? cpu.spinning.quick + 1 : 0;
    stop_watching(cpu);
    uint32_t state = __atomic_load_n(&control->state, __ATOMIC_ACQUIRE);
    return state == number(abi::RunnerState::kTrapped) && !is_dead(*slot, pid) ? 0 : -ESRCH;
}

// Where a vCPU waits that has nothing to do; -1: none does, or it is this one's processor.
int ProcessHost::idle_processor(int but) const {
    for (const Cpu& cpu : cpus_)
        if (cpu.mode.load(std::memory_order_relaxed) == Mode::kIdle) {
            int there = cpu.processor.load(std::memory_order_relaxed);
            if (there != but) return there;
        }
    return -1;
}

void ProcessHost::stop_spinning(Cpu& cpu) {
    Spinning& spinning = cpu.spinning;
    spinning.pause = spinning.served > kWorthwhile ? kShortestPause : std::min(spinning.pause * 2, kLongestPause);
    spinning.paused_until = __builtin_ia32_rdtsc() + spinning.pause;
    spinning.processor = -1;
    spinning.quick = 0;
}

void ProcessHost::choose_spinning(Cpu& cpu, uint64_t runner) {
    Spinning& spinning = cpu.spinning;
    if (runner != spinning.last) {
        if (spinning.processor >= 0) stop_spinning(cpu);
        spinning.last = runner;
        spinning.quick = 0;
        return;
    }
    if (spinning.processor >= 0) {
        ++spinning.served;
        int here = sched_getcpu();
        if (spinning.quick == 0 || here == spinning.processor || idle_processor(here) != spinning.processor)
            stop_spinning(cpu);
        return;
    }
    if (spinning.quick < kQuickTraps || __builtin_ia32_rdtsc() < spinning.paused_until) return;
    spinning.processor = idle_processor(sched_getcpu());
    spinning.served = 0;
    if (spinning.pause == 0) spinning.pause = kShortestPause;
}

// True: the runner is no longer running. False: it takes its time, and the vCPU will sleep.
bool ProcessHost::spin(Cpu& cpu, abi::RunnerControl* control) {
    uint64_t begin = __builtin_ia32_rdtsc();
    do {
        for (unsigned i = 0; i < 32; i++) {
            if (__atomic_load_n(&control->state, __ATOMIC_ACQUIRE) != number(abi::RunnerState::kRunning)) return true;
            __builtin_ia32_pause();
        }
    } while (__builtin_ia32_rdtsc() - begin < kQuickTicks && cpu.mode == Mode::kUser);
    __atomic_store_n(&control->vcpu_sleeps, 1, __ATOMIC_SEQ_CST);
    return false;
}

// Whether a runner that was told to trap refuses. The time alone does not tell: a busy host may run nothing of the sandbox.
// So this thread competes with the runner for its processor. A runner that can run gets as much of that, and traps.
bool ProcessHost::is_deaf(const abi::RunnerControl* control, const Slot& slot, int32_t pid, int32_t tid) {
    const uint64_t begin = thread_time();
    while (thread_time() - begin < kTurns) {
        move_here(tid);
        for (unsigned i = 0; i < 1000; i++) {
            if (__atomic_load_n(&control->state, __ATOMIC_SEQ_CST) != number(abi::RunnerState::kRunning)) return false;
            __builtin_ia32_pause();
        }
        if (is_dead(slot, pid)) return false;
    }
    return true;
}

// Until the runner is no longer running: it has trapped, or it or its stub is gone.
void ProcessHost::watch(Cpu& cpu, abi::RunnerControl* control, const Slot& slot, int32_t pid, int32_t tid) {
    uint64_t deadline = 0, told = 0, time_then = 0;  // of a runner that was told to trap
    bool killed = false;
    while (__atomic_load_n(&control->state, __ATOMIC_SEQ_CST) == number(abi::RunnerState::kRunning)) {
        if (is_dead(slot, pid)) return;
        uint64_t sleep = kLongestSleep;
        if (interrupt_waits(cpu.area)) {
            uint64_t now = monotonic_ns();
            if (deadline == 0) {
                told = now;
                deadline = now + kPatience;
                time_then = process_time(pid);
                preempt(pid, tid);
            } else if (now >= deadline && !killed) {
                const bool had_time = now - told >= kLongestPatience || process_time(pid) - time_then >= kPatience;
                if (!had_time || !is_deaf(control, slot, pid, tid)) {
                    deadline = now + kPatience;
                    continue;
                }
                log_.debug("stub %d does not let itself be interrupted: it is killed", pid);
                kill(pid, SIGKILL);
                killed = true;
            }
            if (!killed) sleep = deadline > now ? deadline - now : 0;
        } else if (cpu.timer != 0) {
            uint64_t now = monotonic_ns();
            sleep = std::min(sleep, cpu.timer > now ? cpu.timer - now : 0);
        }
        futex_wait(&control->state, number(abi::RunnerState::kRunning), sleep);
    }
}

// Either mark_dead() sees that the vCPU watches no runner, or this sees that it is being looked at, and waits.
void ProcessHost::stop_watching(Cpu& cpu) {
    cpu.mode = Mode::kSentry;
    while (cpu.looked_at.load() != 0) __builtin_ia32_pause();
}

}  // namespace kvmsbx::vmm
