// Clocks, sleeping and interval timers.
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

#include <algorithm>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
volatile sig_atomic_t hits = 0;

void count_alarms(int signo, int flags = 0) {
    struct sigaction action = {};
    action.sa_handler = [](int) { hits = hits + 1; };
    action.sa_flags = flags;
    OK(sigaction(signo, &action, nullptr));
}

int64_t ns(const timespec& t) { return static_cast<int64_t>(t.tv_sec) * 1000000000 + t.tv_nsec; }

int64_t by_library(clockid_t clock) {
    timespec now;
    OK(clock_gettime(clock, &now));
    return ns(now);
}

int64_t by_syscall(clockid_t clock) {
    timespec now;
    OK(syscall(SYS_clock_gettime, clock, &now));
    return ns(now);
}
}  // namespace

// The kernel behind may take the host's time anew at any moment: soon after its start, for one. Clocks must agree
// through it.
TEST("clocks_keep_their_distance_while_calls_are_made") {
    const int64_t begin = by_syscall(CLOCK_MONOTONIC), distance = by_syscall(CLOCK_REALTIME) - begin;
    int64_t furthest = 0, after = begin;
    while (after - begin < 1'500'000'000) {
        for (int i = 0; i < 1000; ++i) syscall(SYS_getppid);
        const int64_t before = by_syscall(CLOCK_MONOTONIC), real = by_syscall(CLOCK_REALTIME);
        after = by_syscall(CLOCK_MONOTONIC);
        furthest = std::max({furthest, before + distance - real, real - after - distance});
    }
    CHECK_LE(furthest, 500'000'000);
}

TEST("monotonic_never_goes_back") {
    int64_t last = 0;
    for (int i = 0; i < 100000; i++) {
        int64_t now = by_library(CLOCK_MONOTONIC);
        CHECK_GE(now, last);
        last = now;
    }
}

TEST("monotonic_across_vdso_and_syscall") {
    // Interleaved readings by vDSO and by system call are ordered.
    int64_t last = 0;
    for (int i = 0; i < 300; i++) {
        int64_t now = i % 2 == 0 ? by_library(CLOCK_MONOTONIC) : by_syscall(CLOCK_MONOTONIC);
        CHECK_GE(now, last);
        last = now;
    }
}

TEST("vdso_and_syscall_agree") {
    for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW}) {
        int64_t before = by_syscall(clock), middle = by_library(clock), after = by_syscall(clock);
        CHECK_LE(before, middle);
        CHECK_LE(middle, after);
    }
}

TEST("coarse_clocks_lag_a_little") {
    int64_t fine = by_library(CLOCK_MONOTONIC), coarse = by_library(CLOCK_MONOTONIC_COARSE);
    CHECK_LE(coarse - fine, 1000000);
    CHECK_LE(fine - coarse, 100000000);
}

TEST("vdso_is_a_program_image") {
    auto address = getauxval(AT_SYSINFO_EHDR);
    CHECK_NE(address, 0);
    CHECK_EQ(memcmp(reinterpret_cast<void*>(address), "\177ELF", 4), 0);
}

TEST("realtime_agrees_with_gettimeofday_and_time") {
    timeval tv;
    int64_t before = by_library(CLOCK_REALTIME);
    OK(gettimeofday(&tv, nullptr));
    time_t seconds = time(nullptr);
    int64_t after = by_library(CLOCK_REALTIME);
    int64_t microseconds = static_cast<int64_t>(tv.tv_sec) * 1000000 + tv.tv_usec;
    CHECK_GE(microseconds, before / 1000);
    CHECK_LE(microseconds, after / 1000);
    CHECK_GE(seconds, before / 1000000000 - 1);
    CHECK_LE(seconds, after / 1000000000);
    timeval by_call;
    OK(syscall(SYS_gettimeofday, &by_call, nullptr));
    CHECK_GE(by_call.tv_sec, tv.tv_sec);
    CHECK_GE(syscall(SYS_time, nullptr), seconds);
}

TEST("realtime_is_after_2024") { CHECK_GT(time(nullptr), 1704067200); }

TEST("clock_resolution") {
    timespec resolution;
    OK(clock_getres(CLOCK_MONOTONIC, &resolution));
    CHECK_EQ(ns(resolution), 1);
    OK(clock_getres(CLOCK_REALTIME, nullptr));
}

TEST("invalid_clock_is_einval") {
    timespec now;
    CHECK_ERRNO(syscall(SYS_clock_gettime, 99, &now), EINVAL);
    CHECK_ERRNO(clock_getres(99, &now), EINVAL);
    CHECK_EQ(clock_nanosleep(99, 0, &now, nullptr), EINVAL);
}

TEST("vdso_gettime_of_invalid_clock") {
    timespec now;
    CHECK_ERRNO(clock_gettime(99, &now), EINVAL);
}

TEST("process_cpu_clock_counts_work_only") {
    int64_t before = by_library(CLOCK_PROCESS_CPUTIME_ID);
    sleep_ms(50);
    int64_t slept = by_library(CLOCK_PROCESS_CPUTIME_ID) - before;
    CHECK_LT(slept, 30000000);
    uint64_t end = now_ns() + 50000000;
    while (now_ns() < end) {}
    CHECK_GT(by_library(CLOCK_PROCESS_CPUTIME_ID) - before, slept + 2000000);
}

TEST("thread_cpu_clock") {
    int64_t before = by_library(CLOCK_THREAD_CPUTIME_ID);
    uint64_t end = now_ns() + 20000000;
    while (now_ns() < end) {}
    CHECK_GT(by_library(CLOCK_THREAD_CPUTIME_ID), before);
}

TEST("nanosleep_sleeps_long_enough") {
    uint64_t start = now_ns();
    timespec wanted = {0, 30000000};
    OK(nanosleep(&wanted, nullptr));
    CHECK_GE(now_ns() - start, 30000000u);
    CHECK_LT(now_ns() - start, 3000000000u);
}

TEST("nanosleep_of_zero_returns") {
    timespec zero = {0, 0};
    OK(nanosleep(&zero, nullptr));
}

TEST("nanosleep_invalid") {
    timespec wanted = {0, 1000000000};
    CHECK_ERRNO(nanosleep(&wanted, nullptr), EINVAL);
    wanted = {-1, 0};
    CHECK_ERRNO(nanosleep(&wanted, nullptr), EINVAL);
    wanted = {0, -1};
    CHECK_ERRNO(nanosleep(&wanted, nullptr), EINVAL);
}

TEST("short_sleeps_many") {
    for (int i = 0; i < 100; i++) {
        timespec wanted = {0, 100000};
        uint64_t start = now_ns();
        OK(nanosleep(&wanted, nullptr));
        CHECK_GE(now_ns() - start, 100000u);
    }
}

TEST("clock_nanosleep_absolute") {
    timespec when;
    OK(clock_gettime(CLOCK_MONOTONIC, &when));
    int64_t target = ns(when) + 30000000;
    when = {target / 1000000000, target % 1000000000};
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr), 0);
    CHECK_GE(by_library(CLOCK_MONOTONIC), target);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr), 0);  // past: at once
}

TEST("clock_nanosleep_absolute_realtime") {
    int64_t target = by_library(CLOCK_REALTIME) + 20000000;
    timespec when = {target / 1000000000, target % 1000000000};
    CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &when, nullptr), 0);
    CHECK_GE(by_library(CLOCK_REALTIME), target);
}

TEST("clock_nanosleep_interrupted_absolute_has_no_remaining") {
    count_alarms(SIGALRM);
    itimerval timer = {{0, 0}, {0, 20000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    timespec when = {time(nullptr) + 100, 0}, left = {7, 7};
    CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &when, &left), EINTR);
    CHECK_EQ(left.tv_sec, 7);
}

TEST("nanosleep_remaining") {
    count_alarms(SIGALRM);
    itimerval timer = {{0, 0}, {0, 50000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    timespec wanted = {10, 0}, left = {};
    CHECK_ERRNO(nanosleep(&wanted, &left), EINTR);
    CHECK_LT(ns(left), 9960000000);
    CHECK_GT(ns(left), 5000000000);
}

TEST("alarm_fires_and_returns_remaining") {
    count_alarms(SIGALRM);
    CHECK_EQ(alarm(100), 0);
    unsigned left = alarm(0);
    CHECK(left == 100 || left == 99);
    CHECK_EQ(alarm(1), 0);
    itimerval now;
    OK(getitimer(ITIMER_REAL, &now));
    CHECK_GT(now.it_value.tv_usec + now.it_value.tv_sec * 1000000, 100000);
    alarm(0);
}

TEST("interval_timer_repeats") {
    count_alarms(SIGALRM);
    itimerval timer = {{0, 5000}, {0, 5000}};
    uint64_t start = now_ns();
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    while (hits < 5) pause();
    CHECK_GE(now_ns() - start, 25000000u);
    itimerval none = {}, old;
    OK(setitimer(ITIMER_REAL, &none, &old));
    CHECK_EQ(old.it_interval.tv_usec, 5000);
}

TEST("interval_timer_virtual_counts_cpu") {
    count_alarms(SIGVTALRM);
    itimerval timer = {{0, 0}, {0, 20000}};
    OK(setitimer(ITIMER_VIRTUAL, &timer, nullptr));
    uint64_t start = now_ns();
    while (hits == 0 && now_ns() - start < 5000000000u) {}
    CHECK_EQ(hits, 1);
    CHECK_GE(now_ns() - start, 15000000u);
}

TEST("interval_timer_profile") {
    count_alarms(SIGPROF);
    itimerval timer = {{0, 0}, {0, 20000}};
    OK(setitimer(ITIMER_PROF, &timer, nullptr));
    uint64_t start = now_ns();
    while (hits == 0 && now_ns() - start < 5000000000u) {}
    CHECK_EQ(hits, 1);
}

TEST("interval_timer_errors") {
    itimerval timer = {{0, 0}, {0, 1000000}};
    CHECK_ERRNO(setitimer(ITIMER_REAL, &timer, nullptr), EINVAL);
    timer = {{0, 0}, {-1, 0}};
    CHECK_ERRNO(setitimer(ITIMER_REAL, &timer, nullptr), EINVAL);
    CHECK_ERRNO(syscall(SYS_getitimer, 9, &timer), EINVAL);
}

TEST("alarm_is_kept_by_exec_not_by_fork") {
    alarm(100);
    CHECK_EXITED(run_child([] { CHECK_EQ(alarm(0), 0); }), 0);
    alarm(0);
    int status = run_child([] {
        itimerval timer = {{0, 0}, {0, 100000}};
        OK(setitimer(ITIMER_REAL, &timer, nullptr));
        execl("/bin/sleep", "sleep", "10", nullptr);
    });
    CHECK_SIGNALED(status, SIGALRM);
}

TEST("times_and_rusage_grow") {
    tms first, second;
    clock_t before = times(&first);
    uint64_t end = now_ns() + 60000000;
    while (now_ns() < end) {}
    clock_t after = times(&second);
    CHECK_GE(after - before, 5);
    CHECK_GE(second.tms_utime + second.tms_stime, first.tms_utime + first.tms_stime);
    rusage usage;
    OK(getrusage(RUSAGE_SELF, &usage));
    CHECK_GT(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
                 usage.ru_stime.tv_usec,
             1000);
    OK(getrusage(RUSAGE_CHILDREN, &usage));
    CHECK_ERRNO(getrusage(99, &usage), EINVAL);
}

TEST("sleepers_wake_no_earlier_than_asked") {
    int fds[2];
    OK(pipe(fds));
    for (int i = 4; i >= 0; i--) {
        if (OK(fork()) != 0) continue;
        const auto wanted = static_cast<uint64_t>(30 + i * 20) * 1'000'000;
        const uint64_t begun = now_ns();
        sleep_ms(static_cast<unsigned>(30 + i * 20));
        const char name = now_ns() - begun >= wanted ? static_cast<char>('a' + i) : '!';
        _exit(write(fds[1], &name, 1) == 1 ? 0 : 1);
    }
    char names[6] = {};
    for (int i = 0; i < 5; i++) CHECK_EQ(read(fds[0], names + i, 1), 1);
    for (char name = 'a'; name <= 'e'; name++) CHECK(strchr(names, name) != nullptr);
}

TEST("posix_timer_signal") {
    count_alarms(SIGUSR1);
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 && errno == ENOSYS) SKIP("no timer_create");
    itimerspec when = {{0, 5000000}, {0, 5000000}};
    OK(timer_settime(timer, 0, &when, nullptr));
    while (hits < 3) pause();
    OK(timer_delete(timer));
}

TEST("settime_without_privilege_is_eperm") {
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     timespec now = {1, 0};
                     CHECK_ERRNO(clock_settime(CLOCK_REALTIME, &now), EPERM);
                     CHECK_ERRNO(clock_settime(CLOCK_MONOTONIC, &now), EINVAL);
                 }),
                 0);
}

TEST("periods_pass_while_the_signal_of_a_timer_waits") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    sigevent event = {};
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    const itimerspec setting = {{0, 5'000'000}, {0, 5'000'000}};
    const uint64_t begin = now_ns();
    OK(timer_settime(timer, 0, &setting, nullptr));
    sleep_ms(103);
    itimerspec left;
    OK(timer_gettime(timer, &left));
    CHECK_GT(left.it_value.tv_nsec, 0);
    CHECK_LE(left.it_value.tv_nsec, 5'000'000);
    siginfo_t info;
    CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGUSR1);
    const auto periods = static_cast<long>((now_ns() - begin) / 5'000'000);
    CHECK_GE(info.si_overrun, 19);
    CHECK_LE(info.si_overrun, periods - 1);
    CHECK_EQ(timer_getoverrun(timer), info.si_overrun);
    // The next one comes at the end of its period.
    CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGUSR1);
    CHECK_GE(now_ns() - begin, 105'000'000);
}

// Signals that come quicker than they are handled leave time to others.
TEST("interval_timers_of_many_processes") {
    pid_t children[16];
    for (pid_t& child : children) {
        child = OK(fork());
        if (child) continue;
        signal(SIGALRM, [](int) {});
        const itimerval alarms = {{0, 1}, {0, 1}};
        OK(setitimer(ITIMER_REAL, &alarms, nullptr));
        timer_t timer;
        sigevent event = {};
        event.sigev_signo = SIGALRM;
        OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
        const itimerspec setting = {{0, 1000}, {0, 1000}};
        OK(timer_settime(timer, 0, &setting, nullptr));
        for (;;) pause();
    }
    const uint64_t begin = now_ns();
    sleep_ms(200);
    for (const pid_t child : children) OK(kill(child, SIGKILL));
    for (const pid_t child : children) OK(waitpid(child, nullptr, 0));
    CHECK_LT(now_ns() - begin, 5'000'000'000);
}

// The shortest periods leave the machine usable; what is not told by a signal of its own is counted.
TEST("interval_timers_of_the_shortest_period") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    const itimerval alarms = {{0, 1}, {0, 1}};
    OK(setitimer(ITIMER_REAL, &alarms, nullptr));
    sigevent event = {};
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    const itimerspec setting = {{0, 1}, {0, 1}};
    OK(timer_settime(timer, 0, &setting, nullptr));
    for (int i = 0; i < 3; ++i) {
        sleep_ms(10);
        siginfo_t info;
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, SIGUSR1);
        CHECK_EQ(OK(sigwaitinfo(&one, &info)), SIGUSR1);
        CHECK_GE(info.si_overrun, 1'000'000);
        sigemptyset(&one);
        sigaddset(&one, SIGALRM);
        CHECK_EQ(OK(sigwaitinfo(&one, &info)), SIGALRM);
    }
    OK(timer_delete(timer));
}
