// Sleeps and timers on CPU-time clocks, RLIMIT_CPU, and what getrusage(2) counts.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ctime>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

uint64_t process_cpu_ns() {
    timespec t;
    OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

std::atomic<bool> stop;
pthread_t burner() {
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     while (!stop) {}
                     return nullptr;
                 },
                 nullptr),
             0);
    return thread;
}

volatile sig_atomic_t fired;

}  // namespace

TEST("nanosleep_on_process_clock_waits_for_cpu_time") {
    pthread_t thread = burner();
    const uint64_t before = process_cpu_ns();
    timespec wanted{0, 60'000'000};
    CHECK_EQ(clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &wanted, nullptr), 0);
    CHECK_GE(process_cpu_ns() - before, 55'000'000);
    stop = true;
    pthread_join(thread, nullptr);
}

TEST("nanosleep_on_clock_of_another_thread") {
    pthread_t thread = burner();
    clockid_t clock;
    CHECK_EQ(pthread_getcpuclockid(thread, &clock), 0);
    timespec wanted{0, 40'000'000}, now;
    CHECK_EQ(clock_nanosleep(clock, TIMER_ABSTIME, &wanted, nullptr), 0);
    OK(clock_gettime(clock, &now));
    CHECK_GE(now.tv_sec * 1'000'000'000 + now.tv_nsec, 40'000'000);
    stop = true;
    pthread_join(thread, nullptr);
}

TEST("nanosleep_on_own_thread_clock_is_refused") {
    timespec wanted{0, 1000};
    CHECK_EQ(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &wanted, nullptr), -1);
    CHECK_EQ(errno, EOPNOTSUPP);
    clockid_t clock;
    CHECK_EQ(pthread_getcpuclockid(pthread_self(), &clock), 0);
    CHECK_ERRNO(syscall(SYS_clock_nanosleep, clock, 0, &wanted, nullptr), EINVAL);
}

TEST("getcpuclockid_of_another_process") {
    const pid_t pid = OK(fork());
    if (pid == 0) {
        burn_ms(30);
        for (;;) pause();
    }
    clockid_t clock;
    CHECK_EQ(clock_getcpuclockid(pid, &clock), 0);
    timespec now{};
    for (int i = 0; i < 400 && now.tv_nsec < 30'000'000; ++i) {
        sleep_ms(10);
        OK(clock_gettime(clock, &now));
    }
    CHECK_GE(now.tv_nsec, 30'000'000);
    kill(pid, SIGKILL);
    OK(waitpid(pid, nullptr, 0));
    CHECK_ERRNO(clock_gettime(clock, &now), EINVAL);
}

TEST("timer_on_process_cpu_clock_fires_after_use") {
    signal(SIGUSR1, [](int) { fired = 1; });
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    OK(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer));
    itimerspec setting{{0, 0}, {0, 50'000'000}};
    OK(timer_settime(timer, 0, &setting, nullptr));
    sleep_ms(120);
    CHECK(!fired);
    const uint64_t before = process_cpu_ns();
    while (!fired) CHECK_LT(process_cpu_ns() - before, 2'000'000'000);
    OK(timer_gettime(timer, &setting));
    CHECK_EQ(setting.it_value.tv_nsec, 0);
}

TEST("timer_on_thread_cpu_clock_repeats") {
    static volatile sig_atomic_t count;
    signal(SIGUSR1, [](int) { count = count + 1; });
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    OK(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer));
    itimerspec setting{{0, 20'000'000}, {0, 20'000'000}}, left;
    OK(timer_settime(timer, 0, &setting, nullptr));
    OK(timer_gettime(timer, &left));
    CHECK_GT(left.it_value.tv_nsec, 0);
    CHECK_LE(left.it_value.tv_nsec, 20'000'000);
    while (count < 3) burn_ms(5);
    OK(timer_delete(timer));
}

TEST("timer_create_of_bad_cpu_clock_is_einval") {
    timer_t timer;
    clockid_t of_nobody = static_cast<clockid_t>(static_cast<unsigned>(~4000000) << 3 | 2);
    CHECK_ERRNO(timer_create(of_nobody, nullptr, &timer), EINVAL);
}

TEST("cpu_limit_sends_sigxcpu_then_sigkill") {
    static volatile sig_atomic_t soft;
    CHECK_SIGNALED(run_child([] {
                       signal(SIGXCPU, [](int) { soft = 1; });
                       rlimit limit{1, 2};
                       OK(setrlimit(RLIMIT_CPU, &limit));
                       while (!soft) {}
                       for (;;) {}
                   }),
                   SIGKILL);
}

TEST("cpu_limit_kills_by_default") {
    CHECK_SIGNALED(run_child([] {
                       rlimit limit{1, 10};
                       OK(setrlimit(RLIMIT_CPU, &limit));
                       for (;;) {}
                   }),
                   SIGXCPU);
}

TEST("rusage_counts_faults") {
    rusage before, after;
    OK(getrusage(RUSAGE_SELF, &before));
    constexpr size_t kSize = 512 * 4096;
    auto* memory =
        static_cast<char*>(OK(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(madvise(memory, kSize, MADV_NOHUGEPAGE));
    for (size_t at = 0; at < kSize; at += 4096) memory[at] = 1;
    OK(getrusage(RUSAGE_SELF, &after));
    CHECK_GT(after.ru_minflt, before.ru_minflt);
}

TEST("rusage_counts_voluntary_switches") {
    rusage before, after;
    OK(getrusage(RUSAGE_THREAD, &before));
    for (int i = 0; i < 10; ++i) sleep_ms(1);
    OK(getrusage(RUSAGE_THREAD, &after));
    CHECK_GE(after.ru_nvcsw - before.ru_nvcsw, 10);
}

TEST("rusage_counts_involuntary_switches") {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    const pid_t rival = OK(fork());
    if (rival == 0)
        for (;;) asm volatile("");
    rusage before, after;
    OK(getrusage(RUSAGE_SELF, &before));
    burn_ms(200);
    OK(getrusage(RUSAGE_SELF, &after));
    kill(rival, SIGKILL);
    CHECK_GT(after.ru_nivcsw, before.ru_nivcsw);
}

TEST("wait4_gives_largest_resident_size_of_child") {
    const pid_t pid = OK(fork());
    if (pid == 0) {
        constexpr size_t kSize = 16 << 20;
        auto* memory =
            static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (size_t at = 0; at < kSize; at += 4096) memory[at] = 1;
        _exit(0);
    }
    rusage usage, children;
    OK(wait4(pid, nullptr, 0, &usage));
    CHECK_GE(usage.ru_maxrss, 16 << 10);
    CHECK_GT(usage.ru_minflt, 0);
    OK(getrusage(RUSAGE_CHILDREN, &children));
    CHECK_GE(children.ru_maxrss, 16 << 10);
}
