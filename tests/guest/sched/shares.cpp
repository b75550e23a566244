// What each gets of busy CPUs.
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr unsigned kMilliseconds = 1500;

pid_t start_hog() {
    const pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) asm volatile("");
    return pid;
}

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

// Kills the child; its CPU time in seconds.
double end_and_measure(pid_t pid) {
    OK(kill(pid, SIGKILL));
    rusage usage;
    OK(wait4(pid, nullptr, 0, &usage));
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

TEST("one_that_makes_many_calls_gets_no_more_than_its_share") {
    // Two CPUs, two hogs and a caller: two thirds of a CPU for each, whatever else works for the caller's calls.
    cpu_set_t two;
    OK(sched_getaffinity(0, sizeof two, &two));
    if (CPU_COUNT(&two) < 2) SKIP("one CPU");
    int wanted = 2;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &two) && --wanted < 0) CPU_CLR(cpu, &two);
    OK(sched_setaffinity(0, sizeof two, &two));
    const pid_t hogs[] = {start_hog(), start_hog()};
    const pid_t caller = OK(fork());
    if (caller == 0)
        for (;;) syscall(SYS_getppid);
    sleep_ms(kMilliseconds);
    const double for_caller = end_and_measure(caller);
    const double for_hogs = end_and_measure(hogs[0]) + end_and_measure(hogs[1]);
    CHECK(for_caller < 0.75 * for_hogs);  // natively 0.5
    CHECK(for_caller > 0.25 * for_hogs);
}
