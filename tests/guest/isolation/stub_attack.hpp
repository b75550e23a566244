#pragma once
// What attacks from inside a stub share: the witness, attackers as processes, frames, and the stub's own system calls.
#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include <atomic>

#include "tests/guest/isolation/stub_finder.hpp"

namespace guest {

inline constexpr size_t kPatternSize = 64 * 1024;
inline constexpr uint64_t kMillisecond = 1'000'000;

inline volatile sig_atomic_t ticks;

inline uint64_t new_seed() {
    uint64_t seed = now_ns();
    syscall(SYS_getrandom, &seed, 4, 0);
    return seed & 0xffff'ffff;
}

// What an attack must leave as it is.
class Witness {
  public:
    explicit Witness(uint64_t seed) : seed_(seed) {
        scratch();
        for (size_t i = 0; i < kPatternSize; i++) pattern_[i] = static_cast<uint8_t>(i * 7 + seed);
        file_ = OK(open("pattern", O_RDWR | O_CREAT, 0600));
        CHECK_EQ(write(file_, pattern_, kPatternSize), kPatternSize);
        void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(shared != MAP_FAILED);
        loops_ = static_cast<std::atomic<uint64_t>*>(shared);
        watcher_ = OK(fork());
        if (watcher_ == 0) watch();
        signal(SIGALRM, [](int) { ticks = ticks + 1; });
        const itimerval often{{0, 5000}, {0, 5000}};
        OK(setitimer(ITIMER_REAL, &often, nullptr));
    }

    // Everything is as it was, and goes on.
    void check(const char* what) {
        what_ = what;
        if (!unchanged()) fail(__FILE__, __LINE__, "%s, seed %lu: memory or file changed", what, seed_);
        if (!registers_hold()) fail(__FILE__, __LINE__, "%s, seed %lu: registers changed", what, seed_);
        const uint64_t loops = loops_->load(), end = now_ns() + 5000 * kMillisecond;
        const int before = ticks;
        while (loops_->load() <= loops || ticks == before) {
            if (now_ns() > end)
                fail(__FILE__, __LINE__, "%s, seed %lu: no progress: watcher %lu loops, timer %d ticks", what, seed_,
                     loops_->load() - loops, ticks - before);
            sleep_ms(1);
        }
        int status;
        const pid_t ended = waitpid(watcher_, &status, WNOHANG);
        if (ended != 0) fail(__FILE__, __LINE__, "%s, seed %lu: the watcher ended: 0x%x", what, seed_, status);
    }

    void end() {
        const itimerval never{};
        OK(setitimer(ITIMER_REAL, &never, nullptr));
        OK(kill(watcher_, SIGKILL));
        int status;
        CHECK_EQ(waitpid(watcher_, &status, 0), watcher_);
        CHECK_SIGNALED(status, SIGKILL);
    }

    uint64_t seed() const { return seed_; }

  private:
    bool unchanged() {
        uint8_t there[4096];
        for (size_t at = 0; at < kPatternSize; at += sizeof there) {
            if (pread(file_, there, sizeof there, static_cast<off_t>(at)) != sizeof there) return false;
            if (memcmp(there, pattern_ + at, sizeof there) != 0) return false;
        }
        for (size_t i = 0; i < kPatternSize; i++)
            if (pattern_[i] != static_cast<uint8_t>(i * 7 + seed_)) return false;
        return true;
    }

    // Across system calls and, some of the time, a preemption.
    static bool registers_hold() {
        for (int i = 0; i < 50; i++) {
            double kept = i + 0.25;
            uint64_t general = 0x1234'5678'9abc'def0 + static_cast<uint64_t>(i), result = SYS_getppid;
            const uint64_t expected = general;
            asm volatile("mov $2000, %%ecx\n 1: pause\n dec %%ecx\n jnz 1b\n syscall"
                         : "+x"(kept), "+r"(general), "+a"(result)
                         :
                         : "rcx", "r11", "memory");
            if (kept != i + 0.25 || general != expected) return false;
        }
        return true;
    }

    [[noreturn]] void watch() {
        signal(SIGALRM, SIG_DFL);
        const pid_t self = getpid();
        for (;;) {
            if (!unchanged() || !registers_hold()) fail(__FILE__, __LINE__, "seed %lu: the watcher's state", seed_);
            CHECK_EQ(syscall(SYS_getpid), self);
            void* page = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(page != MAP_FAILED);
            CHECK_EQ(*static_cast<volatile uint64_t*>(page), 0);
            *static_cast<volatile uint64_t*>(page) = 1;
            OK(munmap(page, 8192));
            loops_->fetch_add(1);
        }
    }

    uint8_t pattern_[kPatternSize];
    uint64_t seed_;
    const char* what_ = "";
    int file_ = -1;
    pid_t watcher_ = 0;
    std::atomic<uint64_t>* loops_ = nullptr;
};

// An attacker. It can come back with any registers, at any place of this program: so it can neither report nor signal.
template <typename Body>
pid_t start(Body body) {
    const pid_t pid = OK(fork());
    if (pid == 0) {
        syscall(SYS_close_range, 0, ~0u, 0);
        if (setgroups(0, nullptr) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
            _exit(1);
        body();
        _exit(0);
    }
    return pid;
}

// Waits for the end of an attacker, and kills it after `ms`. Anything is a good end, but it must end.
inline void finish(const Witness& witness, const char* what, pid_t pid, unsigned ms) {
    int status;
    const uint64_t from = now_ns();
    bool killed = false;
    for (;;) {
        const pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid) return;
        if (ended < 0) fail(__FILE__, __LINE__, "%s, seed %lu: waitpid: %s", what, witness.seed(), strerror(errno));
        const uint64_t passed = (now_ns() - from) / kMillisecond;
        if (!killed && passed >= ms) killed = kill(pid, SIGKILL) == 0;
        if (passed > ms + 5000) fail(__FILE__, __LINE__, "%s, seed %lu: cannot be killed", what, witness.seed());
        sleep_ms(1);
    }
}

template <typename Body>
void attack(Witness& witness, const char* what, unsigned ms, Body body) {
    finish(witness, what, start(body), ms);
}

inline uint64_t area_of(const FoundStub& stub, unsigned n) {
    return stub.base + abi::kStubRunners + n * abi::kRunnerStride;
}

inline void put(char* at, uint64_t value, size_t size = 8) { memcpy(at, &value, size); }
inline constexpr size_t kGregs = offsetof(ucontext_t, uc_mcontext.gregs);
// The kernel's mask has 64 bits, and behind it the siginfo lies.
inline constexpr size_t kMask = 296, kInfo = 304;

// Where in the area the last signal frame's ucontext is, or some place in it.
inline char* frame_of(Random& random, const FoundStub& stub, abi::RunnerControl& control) {
    const uint64_t area = reinterpret_cast<uint64_t>(&control), at = control.context - area;
    const uint64_t taken = at >= 256 && at + 1024 < stub.area_size ? at : 256 + (random.below(2048) & ~7ULL);
    return reinterpret_cast<char*>(area + taken);
}

// What the stub's own system call instruction can do for us: behind it the code goes on with the RunnerControl that rbx gives, which is
// ours, and so with our frame. The call's result is lost.
void call_by_stub(const FoundStub& stub, const uint64_t (&call)[7], uint64_t mask = 0);

}  // namespace guest
