// sched_setattr(2) and kin, ioprio, and what priorities do.
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstdlib>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

struct Attributes {
    uint32_t size = 48, policy = 0;
    uint64_t flags = 0;
    int32_t nice = 0;
    uint32_t priority = 0;
    uint64_t runtime = 0, deadline = 0, period = 0;
    uint32_t clamps[4] = {};
};

long setattr(Attributes& attributes, int pid = 0, unsigned flags = 0) {
    return syscall(SYS_sched_setattr, pid, &attributes, flags);
}
long getattr(Attributes& attributes, int pid = 0, unsigned size = 48, unsigned flags = 0) {
    return syscall(SYS_sched_getattr, pid, &attributes, size, flags);
}

// Of /proc/self/stat, as proc(5) counts.
long stat_field(int field) {
    static char text[4096];
    OK(read_file("/proc/self/stat", text, sizeof text));
    const char* at = strrchr(text, ')') + 2;
    for (int i = 3; i < field; ++i) at = strchr(at, ' ') + 1;
    return strtol(at, nullptr, 10);
}

void become_user() { OK(setuid(1234)); }

}  // namespace

TEST("stat_shows_real_time_priority_and_policy") {
    OK(setpriority(PRIO_PROCESS, 0, 7));
    CHECK_EQ(stat_field(18), 27);
    CHECK_EQ(stat_field(19), 7);
    const sched_param parameter{10};
    if (sched_setscheduler(0, SCHED_RR, &parameter) < 0) SKIP("this group may not have real-time threads");
    CHECK_EQ(stat_field(18), -11);
    CHECK_EQ(stat_field(40), 10);
    CHECK_EQ(stat_field(41), SCHED_RR);
}

TEST("getattr_shows_nice_and_policy") {
    OK(setpriority(PRIO_PROCESS, 0, 7));
    Attributes got;
    OK(getattr(got));
    CHECK_EQ(got.size, 48);
    CHECK_EQ(got.policy, SCHED_OTHER);
    CHECK_EQ(got.nice, 7);
    CHECK_EQ(got.priority, 0);
}

TEST("setattr_sets_nice_and_policy") {
    Attributes wanted;
    wanted.policy = SCHED_BATCH;
    wanted.nice = 5;
    OK(setattr(wanted));
    CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 5);
}

TEST("setattr_errors") {
    Attributes wanted;
    CHECK_ERRNO(setattr(wanted, -1), EINVAL);
    CHECK_ERRNO(setattr(wanted, 0, 1), EINVAL);
    CHECK_ERRNO(setattr(wanted, 4000000), ESRCH);
    CHECK_ERRNO(syscall(SYS_sched_setattr, 0, nullptr, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_sched_setattr, 0, 8, 0), EFAULT);
    wanted.policy = 99;
    CHECK_ERRNO(setattr(wanted), EINVAL);
    wanted.policy = SCHED_OTHER;
    wanted.priority = 3;
    CHECK_ERRNO(setattr(wanted), EINVAL);
    wanted.priority = 0;
    wanted.flags = 1U << 20;
    CHECK_ERRNO(setattr(wanted), EINVAL);
}

TEST("setattr_size_rules") {
    Attributes wanted;
    wanted.size = 40;
    CHECK_ERRNO(setattr(wanted), E2BIG);
    CHECK_GE(wanted.size, 48);
    wanted.size = 0;
    OK(setattr(wanted));
    wanted.size = 64;
    OK(setattr(wanted));
    wanted.clamps[3] = 1;
    CHECK_ERRNO(setattr(wanted), E2BIG);
}

TEST("getattr_errors") {
    Attributes got;
    CHECK_ERRNO(getattr(got, 0, 47), EINVAL);
    CHECK_ERRNO(getattr(got, 0, 5000), EINVAL);
    CHECK_ERRNO(getattr(got, 0, 48, 1), EINVAL);
    CHECK_ERRNO(getattr(got, -1), EINVAL);
    CHECK_ERRNO(getattr(got, 4000000), ESRCH);
}

TEST("real_time_without_right_is_eperm") {
    CHECK_EXITED(run_child([] {
                     rlimit none{0, 0};
                     OK(setrlimit(RLIMIT_RTPRIO, &none));
                     become_user();
                     sched_param one{1};
                     CHECK_ERRNO(sched_setscheduler(0, SCHED_FIFO, &one), EPERM);
                     CHECK_ERRNO(sched_setscheduler(0, SCHED_RR, &one), EPERM);
                     sched_param none_at_all{0}, too_high{100};
                     CHECK_ERRNO(sched_setscheduler(0, SCHED_RR, &none_at_all), EINVAL);
                     CHECK_ERRNO(sched_setscheduler(0, SCHED_RR, &too_high), EINVAL);
                 }),
                 0);
}

TEST("rtprio_limit_allows_up_to_it") {
    rlimit ten{10, 10};
    if (setrlimit(RLIMIT_RTPRIO, &ten) < 0) SKIP("no CAP_SYS_RESOURCE");
    become_user();
    sched_param eleven{11}, nine{9}, got{};
    CHECK_ERRNO(sched_setscheduler(0, SCHED_RR, &eleven), EPERM);
    OK(sched_setscheduler(0, SCHED_RR, &nine));
    CHECK_EQ(sched_getscheduler(0), SCHED_RR);
    OK(sched_getparam(0, &got));
    CHECK_EQ(got.sched_priority, 9);
    Attributes attributes;
    OK(getattr(attributes));
    CHECK_EQ(attributes.priority, 9);
}

TEST("reset_on_fork_returns_child_to_normal") {
    sched_param five{5};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &five) < 0) SKIP("no CAP_SYS_NICE");
    CHECK_EQ(sched_getscheduler(0), SCHED_RR | SCHED_RESET_ON_FORK);
    CHECK_EXITED(run_child([] { CHECK_EQ(sched_getscheduler(0), SCHED_OTHER); }), 0);
}

TEST("real_time_policy_is_inherited") {
    sched_param five{5};
    if (sched_setscheduler(0, SCHED_RR, &five) < 0) SKIP("no CAP_SYS_NICE");
    CHECK_EXITED(run_child([] { CHECK_EQ(sched_getscheduler(0), SCHED_RR); }), 0);
}

TEST("idle_policy_cannot_be_left_without_right") {
    CHECK_EXITED(run_child([] {
                     rlimit none{0, 0};
                     OK(setrlimit(RLIMIT_NICE, &none));
                     become_user();
                     sched_param zero{0};
                     OK(sched_setscheduler(0, SCHED_IDLE, &zero));
                     CHECK_ERRNO(sched_setscheduler(0, SCHED_OTHER, &zero), EPERM);
                 }),
                 0);
}

TEST("foreign_process_is_eperm") {
    const pid_t other = OK(fork());
    if (other == 0)
        for (;;) pause();
    CHECK_EXITED(run_child([&] {
                     become_user();
                     Attributes wanted;
                     CHECK_ERRNO(setattr(wanted, other), EPERM);
                     CHECK_ERRNO(syscall(SYS_ioprio_set, 1, other, 2 << 13 | 4), EPERM);
                     OK(getattr(wanted, other));
                 }),
                 0);
    kill(other, SIGKILL);
}

TEST("ioprio_is_kept_and_inherited") {
    OK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6);
    CHECK_EXITED(run_child([] { CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6); }), 0);
}

TEST("ioprio_errors") {
    CHECK_ERRNO(syscall(SYS_ioprio_set, 1, 0, 1), EINVAL);
    CHECK_ERRNO(syscall(SYS_ioprio_set, 1, 0, 5 << 13), EINVAL);
    CHECK_ERRNO(syscall(SYS_ioprio_set, 9, 0, 2 << 13), EINVAL);
    CHECK_ERRNO(syscall(SYS_ioprio_set, 1, 4000000, 2 << 13), ESRCH);
    CHECK_ERRNO(syscall(SYS_ioprio_get, 9, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_ioprio_get, 1, 4000000), ESRCH);
}

TEST("ioprio_real_time_needs_a_capability") {
    CHECK_EXITED(run_child([] {
                     become_user();
                     CHECK_ERRNO(syscall(SYS_ioprio_set, 1, 0, 1 << 13 | 4), EPERM);
                 }),
                 0);
}

// The nicer of two rivals on one CPU gets much less of it.
TEST("nice_value_weighs_on_a_busy_cpu") {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    pid_t rivals[2];
    for (int i = 0; i < 2; ++i) {
        rivals[i] = OK(fork());
        if (rivals[i]) continue;
        if (i == 0) setpriority(PRIO_PROCESS, 0, 19);
        for (;;) asm volatile("");
    }
    sleep_ms(1500);
    double seconds[2];
    for (int i = 0; i < 2; ++i) {
        kill(rivals[i], SIGKILL);
        rusage usage;
        OK(wait4(rivals[i], nullptr, 0, &usage));
        seconds[i] = static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) / 1e6;
    }
    CHECK_GT(static_cast<long>(seconds[1] * 1000), static_cast<long>(seconds[0] * 2000));
}

TEST("real_time_thread_goes_before_normal_ones") {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    sched_param five{5};
    if (sched_setscheduler(0, SCHED_RR, &five) < 0) SKIP("no CAP_SYS_NICE");
    const pid_t normal = OK(fork());
    if (normal == 0) {
        sched_param zero{0};
        sched_setscheduler(0, SCHED_OTHER, &zero);
        for (;;) asm volatile("");
    }
    sleep_ms(20);
    // Spins for 300 ms: the normal rival gets next to nothing of them.
    rusage before, after;
    OK(getrusage(RUSAGE_SELF, &before));
    const uint64_t end = now_ns() + 300'000'000;
    while (now_ns() < end) {}
    OK(getrusage(RUSAGE_SELF, &after));
    const long ms = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000 +
                    (after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1000;
    kill(normal, SIGKILL);
    CHECK_GT(ms, 150);
}
