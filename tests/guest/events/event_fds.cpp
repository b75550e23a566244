// eventfd(2), timerfd_create(2), signalfd(2).
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

short poll_once(int fd, short events, int timeout = 0) {
    pollfd one = {fd, events, 0};
    OK(poll(&one, 1, timeout));
    return one.revents;
}

}  // namespace

TEST("eventfd_counts") {
    const int fd = OK(eventfd(3, EFD_NONBLOCK));
    uint64_t value = 0;
    CHECK_EQ(poll_once(fd, POLLIN | POLLOUT), POLLIN | POLLOUT);
    CHECK_EQ(OK(read(fd, &value, 8)), 8);
    CHECK_EQ(value, 3);
    CHECK_ERRNO(read(fd, &value, 8), EAGAIN);
    value = ~0ull;
    CHECK_ERRNO(write(fd, &value, 8), EINVAL);
    CHECK_ERRNO(write(fd, &value, 4), EINVAL);
    CHECK_ERRNO(read(fd, &value, 4), EINVAL);
    value = ~0ull - 1;
    CHECK_EQ(OK(write(fd, &value, 8)), 8);
    CHECK_EQ(poll_once(fd, POLLIN | POLLOUT), POLLIN);
    value = 1;
    CHECK_ERRNO(write(fd, &value, 8), EAGAIN);
    CHECK_ERRNO(pread(fd, &value, 8, 0), ESPIPE);
}

TEST("eventfd_semaphore_and_blocking") {
    const int fd = OK(eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC));
    if (OK(fork()) == 0) {
        sleep_ms(30);
        OK(eventfd_write(fd, 2));
        _exit(0);
    }
    eventfd_t value = 0;
    OK(eventfd_read(fd, &value));
    CHECK_EQ(value, 1);
    OK(eventfd_read(fd, &value));
    CHECK_EQ(value, 1);
    CHECK_ERRNO(eventfd(0, 0x10), EINVAL);
}

TEST("timerfd_relative_periodic") {
    const int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    uint64_t count = 0;
    CHECK_ERRNO(read(fd, &count, 8), EAGAIN);
    itimerspec setting = {{0, 20'000'000}, {0, 30'000'000}};
    OK(timerfd_settime(fd, 0, &setting, nullptr));
    itimerspec left = {};
    OK(timerfd_gettime(fd, &left));
    CHECK_EQ(left.it_interval.tv_nsec, 20'000'000);
    CHECK_GT(left.it_value.tv_nsec, 0);
    CHECK_EQ(poll_once(fd, POLLIN, 5000), POLLIN);
    sleep_ms(100);
    CHECK_EQ(OK(read(fd, &count, 8)), 8);
    CHECK_GE(count, 4u);
    itimerspec off = {};
    OK(timerfd_settime(fd, 0, &off, &left));
    CHECK_EQ(left.it_interval.tv_nsec, 20'000'000);
    sleep_ms(40);
    CHECK_EQ(poll_once(fd, POLLIN), 0);
}

TEST("timerfd_absolute") {
    for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME}) {
        const int fd = OK(timerfd_create(clock, 0));
        const uint64_t start = now_ns();
        timespec now;
        OK(clock_gettime(clock, &now));
        itimerspec setting = {{0, 0}, now};
        setting.it_value.tv_nsec += 50'000'000;
        if (setting.it_value.tv_nsec >= 1'000'000'000)
            setting.it_value.tv_nsec -= 1'000'000'000, ++setting.it_value.tv_sec;
        OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, nullptr));
        uint64_t count = 0;
        CHECK_EQ(OK(read(fd, &count, 8)), 8);
        CHECK_EQ(count, 1);
        CHECK_GE(now_ns() - start, 40'000'000u);
        setting.it_value = {0, 1};  // in the past, also soon after the machine's start: at once
        OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, nullptr));
        CHECK_EQ(OK(read(fd, &count, 8)), 8);
    }
}

// The shortest period leaves the machine usable, and is counted in full.
TEST("timerfd_shortest_period") {
    const int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    const itimerspec setting = {{0, 1}, {0, 1}};
    OK(timerfd_settime(fd, 0, &setting, nullptr));
    uint64_t count = 0;
    for (int i = 0; i < 5; ++i) {
        sleep_ms(10);
        CHECK_EQ(poll_once(fd, POLLIN, 5000), POLLIN);
        CHECK_EQ(OK(read(fd, &count, 8)), 8);
        CHECK_GE(count, 9'000'000u);
    }
}

// A timer that nobody reads is told once to an edge-triggered poller.
TEST("timerfd_edge_until_read") {
    const int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), poller = OK(epoll_create1(0));
    epoll_event event = {EPOLLIN | EPOLLET, {}};
    OK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event));
    const itimerspec setting = {{0, 5'000'000}, {0, 5'000'000}};
    OK(timerfd_settime(fd, 0, &setting, nullptr));
    CHECK_EQ(OK(epoll_wait(poller, &event, 1, 5000)), 1);
    CHECK_EQ(OK(epoll_wait(poller, &event, 1, 50)), 0);
    uint64_t count = 0;
    CHECK_EQ(OK(read(fd, &count, 8)), 8);
    CHECK_GE(count, 8u);
    CHECK_EQ(OK(epoll_wait(poller, &event, 1, 5000)), 1);
}

TEST("timerfd_errors") {
    CHECK_ERRNO(timerfd_create(77, 0), EINVAL);
    CHECK_ERRNO(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
    const int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    itimerspec wrong = {{0, 0}, {0, 1'000'000'000}};
    CHECK_ERRNO(timerfd_settime(fd, 0, &wrong, nullptr), EINVAL);
    itimerspec fine = {};
    CHECK_ERRNO(timerfd_settime(0, 0, &fine, nullptr), EINVAL);
    CHECK_ERRNO(timerfd_settime(999, 0, &fine, nullptr), EBADF);
    CHECK_ERRNO(timerfd_settime(fd, 8, &fine, nullptr), EINVAL);
    CHECK_ERRNO(timerfd_gettime(fd, nullptr), EFAULT);
}

TEST("signalfd_reads_blocked_signals") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    const int fd = OK(signalfd(-1, &set, SFD_NONBLOCK));
    signalfd_siginfo info = {};
    CHECK_ERRNO(read(fd, &info, sizeof info), EAGAIN);
    CHECK_ERRNO(read(fd, &info, 64), EINVAL);
    OK(kill(getpid(), SIGUSR1));
    CHECK_EQ(poll_once(fd, POLLIN), POLLIN);
    CHECK_EQ(OK(read(fd, &info, sizeof info)), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGUSR1);
    CHECK_EQ(info.ssi_pid, static_cast<uint32_t>(getpid()));
    const pid_t child = OK(fork());
    if (child == 0) _exit(5);
    CHECK_EQ(poll_once(fd, POLLIN, 5000), POLLIN);
    CHECK_EQ(OK(read(fd, &info, sizeof info)), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGCHLD);
    CHECK_EQ(info.ssi_code, CLD_EXITED);
    CHECK_EQ(info.ssi_status, 5);
    CHECK_ERRNO(signalfd(0, &set, 0), EINVAL);
    CHECK_ERRNO(signalfd(-1, &set, 1), EINVAL);
}
