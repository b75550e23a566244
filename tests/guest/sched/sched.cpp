// Scheduling: everybody gets on, a hog is preempted, affinity.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

TEST("yield_returns_zero") {
    for (int i = 0; i < 1000; i++) OK(sched_yield());
}

TEST("hog_does_not_starve_others") {
    pid_t hogs[3];
    for (auto& pid : hogs) {
        pid = OK(fork());
        if (pid == 0)
            for (;;) asm volatile("");
    }
    for (int i = 0; i < 10; i++) sleep_ms(1);
    uint64_t work = 0;
    for (int i = 0; i < 1000000; i++) asm volatile("" : "+r"(work));
    for (auto pid : hogs) {
        OK(kill(pid, SIGKILL));
        OK(waitpid(pid, nullptr, 0));
    }
}

TEST("hog_without_system_calls_can_be_killed") {
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) asm volatile("");
    sleep_ms(10);
    OK(kill(pid, SIGTERM));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_SIGNALED(status, SIGTERM);
}

TEST("many_runnable_processes_all_progress") {
    constexpr int kProcesses = 12;
    auto* counters = static_cast<std::atomic<long>*>(
        OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    pid_t pids[kProcesses];
    for (int i = 0; i < kProcesses; i++) {
        pids[i] = OK(fork());
        if (pids[i] == 0)
            for (;;) counters[i]++;
    }
    bool all = false;
    for (int round = 0; round < 300 && !all; round++) {
        sleep_ms(10);
        all = true;
        for (int i = 0; i < kProcesses; i++) all = all && counters[i] > 1000;
    }
    for (auto pid : pids) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    CHECK(all);
}

TEST("many_runnable_threads_all_progress") {
    static std::atomic<long> counters[12];
    static std::atomic<bool> stop{false};
    pthread_t threads[12];
    for (long i = 0; i < 12; i++)
        pthread_create(
            &threads[i], nullptr,
            [](void* index) -> void* {
                while (!stop) counters[reinterpret_cast<long>(index)]++;
                return nullptr;
            },
            reinterpret_cast<void*>(i));
    bool all = false;
    for (int round = 0; round < 300 && !all; round++) {
        sleep_ms(10);
        all = true;
        for (auto& counter : counters) all = all && counter > 1000;
    }
    stop = true;
    for (auto thread : threads) pthread_join(thread, nullptr);
    CHECK(all);
}

TEST("spinning_waiter_lets_the_other_run") {
    // Needs preemption where there is one CPU.
    static std::atomic<int> flag{0};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            flag = 1;
            return nullptr;
        },
        nullptr);
    while (flag == 0) asm volatile("pause");
    pthread_join(thread, nullptr);
}

TEST("sleeper_wakes_while_others_hog") {
    pid_t hogs[4];
    for (auto& pid : hogs) {
        pid = OK(fork());
        if (pid == 0)
            for (;;) asm volatile("");
    }
    uint64_t start = now_ns();
    for (int i = 0; i < 5; i++) sleep_ms(2);
    uint64_t took = now_ns() - start;
    for (auto pid : hogs) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    CHECK_LT(took, 3000000000u);
}

TEST("affinity_of_nobody_is_esrch") {
    cpu_set_t set;
    CHECK_ERRNO(sched_getaffinity(-1, sizeof set, &set), ESRCH);
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    CHECK_ERRNO(sched_setaffinity(-1, sizeof set, &set), ESRCH);
}

TEST("getaffinity_has_a_cpu") {
    cpu_set_t set;
    CPU_ZERO(&set);
    OK(sched_getaffinity(0, sizeof(set), &set));
    CHECK_GE(CPU_COUNT(&set), 1);
    CHECK_EQ(CPU_COUNT(&set), sysconf(_SC_NPROCESSORS_ONLN));
}

TEST("getaffinity_errors") {
    unsigned long small[1];
    CHECK_ERRNO(syscall(SYS_sched_getaffinity, 0, 3, small), EINVAL);
    CHECK_ERRNO(syscall(SYS_sched_getaffinity, 999999, 128, small), ESRCH);
}

TEST("setaffinity_to_own_set") {
    cpu_set_t set;
    OK(sched_getaffinity(0, sizeof(set), &set));
    OK(sched_setaffinity(0, sizeof(set), &set));
    cpu_set_t none;
    CPU_ZERO(&none);
    CHECK_ERRNO(sched_setaffinity(0, sizeof(none), &none), EINVAL);
}

TEST("setaffinity_to_one_cpu") {
    cpu_set_t set, one;
    OK(sched_getaffinity(0, sizeof(set), &set));
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        OK(sched_setaffinity(0, sizeof(one), &one));
        CHECK_EQ(sched_getcpu(), cpu);
    }
    OK(sched_getaffinity(0, sizeof(set), &set));
    CHECK_EQ(CPU_COUNT(&set), 1);
}

TEST("affinity_that_changes_twice_before_the_move") {
    // The thread is to leave its CPU, and before it could, it may stay.
    cpu_set_t all, one;
    OK(sched_getaffinity(0, sizeof all, &all));
    if (CPU_COUNT(&all) < 2) SKIP("one CPU");
    const pid_t hog = OK(fork());
    if (hog == 0)
        for (;;) asm volatile("");
    const uint64_t end = now_ns() + 1'000'000'000;
    while (now_ns() < end)
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &all)) continue;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            OK(sched_setaffinity(hog, sizeof one, &one));
            OK(sched_setaffinity(hog, sizeof all, &all));
        }
    OK(kill(hog, SIGKILL));
    OK(waitpid(hog, nullptr, 0));
}

TEST("getcpu_is_in_set") {
    cpu_set_t set;
    OK(sched_getaffinity(0, sizeof(set), &set));
    int cpu = OK(sched_getcpu());
    CHECK(CPU_ISSET(cpu, &set));
    unsigned by_call = 9999;
    OK(syscall(SYS_getcpu, &by_call, nullptr, nullptr));
    CHECK(CPU_ISSET(static_cast<int>(by_call), &set));
}

TEST("scheduler_policy_getters") {
    CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
    sched_param parameters = {};
    OK(sched_getparam(0, &parameters));
    CHECK_EQ(parameters.sched_priority, 0);
    CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
    CHECK_EQ(sched_get_priority_min(SCHED_FIFO), 1);
    CHECK_EQ(sched_get_priority_max(SCHED_OTHER), 0);
    CHECK_ERRNO(sched_get_priority_max(99), EINVAL);
    CHECK_ERRNO(sched_getscheduler(999999), ESRCH);
    timespec interval;
    OK(sched_rr_get_interval(0, &interval));
}

TEST("fork_storm") {
    // Children that fork and exit while hogs run.
    pid_t hog = OK(fork());
    if (hog == 0)
        for (;;) asm volatile("");
    for (int i = 0; i < 60; i++) CHECK_EXITED(run_child([] { CHECK_EXITED(run_child([] { _exit(1); }), 1); }), 0);
    OK(kill(hog, SIGKILL));
    OK(waitpid(hog, nullptr, 0));
}
