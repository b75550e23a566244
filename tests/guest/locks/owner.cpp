// fcntl's other commands: owners and signals of files, descriptors compared, leases refused.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include <thread>

#include "tests/guest/guest_test.hpp"

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027
#endif

using namespace guest;

namespace {

volatile sig_atomic_t caught, caught_code, caught_fd;

void catch_signal(int signal) {
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int number, siginfo_t* info, void*) {
        caught = number;
        caught_code = info->si_code;
        caught_fd = info->si_fd;
    };
    OK(sigaction(signal, &action, nullptr));
}

}  // namespace

TEST("file_owner_is_kept_per_description") {
    int ends[2];
    OK(pipe(ends));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), getpid());
    CHECK_EQ(fcntl(OK(dup(ends[0])), F_GETOWN), getpid());
    CHECK_EQ(fcntl(ends[1], F_GETOWN), 0);
    OK(fcntl(ends[0], F_SETOWN, 0));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
}

TEST("file_owner_errors") {
    int ends[2];
    OK(pipe(ends));
    CHECK_ERRNO(fcntl(ends[0], F_SETOWN, 4000000), ESRCH);
    CHECK_ERRNO(fcntl(ends[0], F_SETOWN, INT32_MIN), EINVAL);
    struct f_owner_ex owner = {static_cast<enum __pid_type>(9), getpid()};
    CHECK_ERRNO(fcntl(ends[0], F_SETOWN_EX, &owner), EINVAL);
    CHECK_ERRNO(fcntl(ends[0], F_SETSIG, 65), EINVAL);
    CHECK_ERRNO(fcntl(ends[0], F_SETSIG, -1), EINVAL);
}

TEST("file_owner_ex_knows_the_kind") {
    int ends[2];
    OK(pipe(ends));
    struct f_owner_ex owner = {F_OWNER_PGRP, getpgrp()};
    OK(fcntl(ends[0], F_SETOWN_EX, &owner));
    owner = {};
    OK(fcntl(ends[0], F_GETOWN_EX, &owner));
    CHECK_EQ(owner.type, F_OWNER_PGRP);
    CHECK_EQ(owner.pid, getpgrp());
    owner = {F_OWNER_TID, gettid()};
    OK(fcntl(ends[0], F_SETOWN_EX, &owner));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), gettid());
}

TEST("signal_has_the_band_of_its_code") {
    int ends[2];
    OK(pipe(ends));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    OK(fcntl(ends[0], F_SETSIG, SIGRTMIN));
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    CHECK_EQ(write(ends[1], "x", 1), 1);
    siginfo_t info;
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    CHECK_EQ(info.si_code, 1);              // POLL_IN
    CHECK_EQ(info.si_band, 0x001 | 0x040);  // POLLIN | POLLRDNORM
    OK(close(ends[1]));                     // POLLHUP alone, but the band is that of the code
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    CHECK_EQ(info.si_code, 1);
    CHECK_EQ(info.si_band, 0x001 | 0x040);
}

TEST("owner_that_is_gone_is_nobody") {
    int ends[2];
    OK(pipe(ends));
    pid_t pid = OK(fork());
    if (pid == 0) {
        pause();
        _exit(0);
    }
    OK(fcntl(ends[0], F_SETOWN, pid));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), pid);
    OK(kill(pid, SIGKILL));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
}

TEST("sigio_when_a_pipe_gets_data") {
    int ends[2];
    OK(pipe(ends));
    catch_signal(SIGIO);
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    CHECK(fcntl(ends[0], F_GETFL) & O_ASYNC);
    OK(write(ends[1], "x", 1));
    CHECK_EQ(caught, SIGIO);
}

TEST("owner_by_the_number_of_a_thread") {
    int ends[2];
    OK(pipe(ends));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    // Not its leader: the process is told while that thread lives, but F_GETOWN knows no process of the number.
    pid_t owner = 0;
    std::thread([&] {
        owner = gettid();
        OK(fcntl(ends[0], F_SETOWN, gettid()));
        CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
        OK(fcntl(ends[0], F_SETFL, O_ASYNC));
        CHECK_EQ(write(ends[1], "x", 1), 1);
    }).join();
    const timespec now = {};
    CHECK_EQ(sigtimedwait(&set, nullptr, &now), SIGIO);
    // A thread that was joined is not gone yet.
    while (tgkill(getpid(), owner, 0) == 0) sched_yield();
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_ERRNO(sigtimedwait(&set, nullptr, &now), EAGAIN);
}

TEST("owner_of_a_kind_that_its_number_is_not") {
    int ends[2];
    OK(pipe(ends));
    const pid_t pid = OK(fork());
    if (pid == 0) {
        pause();
        _exit(0);
    }
    struct f_owner_ex group = {F_OWNER_PGRP, pid};
    OK(fcntl(ends[0], F_SETOWN_EX, &group));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
    OK(setpgid(pid, pid));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), -pid);
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
}

TEST("no_sigio_without_o_async_or_owner") {
    int ends[2];
    OK(pipe(ends));
    catch_signal(SIGIO);
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    OK(write(ends[1], "x", 1));
    CHECK_EQ(caught, 0);
    OK(fcntl(ends[0], F_SETOWN, 0));
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    OK(write(ends[1], "x", 1));
    CHECK_EQ(caught, 0);
}

TEST("setsig_names_descriptor_and_reason") {
    int ends[2];
    OK(pipe(ends));
    const int wanted = SIGRTMIN + 2;
    catch_signal(wanted);
    CHECK_EQ(fcntl(ends[0], F_GETSIG), 0);
    OK(fcntl(ends[0], F_SETSIG, wanted));
    CHECK_EQ(fcntl(ends[0], F_GETSIG), wanted);
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    OK(write(ends[1], "x", 1));
    CHECK_EQ(caught, wanted);
    CHECK_EQ(caught_code, POLL_IN);
    CHECK_EQ(caught_fd, ends[0]);
}

TEST("fioasync_sets_o_async") {
    int ends[2], on = 1, off = 0;
    OK(pipe(ends));
    OK(ioctl(ends[0], FIOASYNC, &on));
    CHECK(fcntl(ends[0], F_GETFL) & O_ASYNC);
    OK(ioctl(ends[0], FIOASYNC, &off));
    CHECK(!(fcntl(ends[0], F_GETFL) & O_ASYNC));
}

TEST("o_async_does_not_stick_to_regular_files") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0644)), on = 1;
    OK(fcntl(fd, F_SETFL, O_ASYNC));
    CHECK(!(fcntl(fd, F_GETFL) & O_ASYNC));
    CHECK_ERRNO(ioctl(fd, FIOASYNC, &on), ENOTTY);
}

// Signals would make it ready, and it would send signals.
TEST("o_async_does_not_stick_to_signalfd") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    const int fd = OK(signalfd(-1, &set, SFD_NONBLOCK)), poller = OK(epoll_create1(0)), event = OK(eventfd(0, 0));
    epoll_event wanted = {EPOLLIN, {}};
    OK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wanted));
    for (const int one : {fd, poller, event}) {
        OK(fcntl(one, F_SETOWN, getpid()));
        OK(fcntl(one, F_SETFL, O_ASYNC));
        CHECK(!(fcntl(one, F_GETFL) & O_ASYNC));
        int on = 1;
        CHECK_ERRNO(ioctl(one, FIOASYNC, &on), ENOTTY);
    }
    OK(kill(getpid(), SIGUSR1));
    signalfd_siginfo info[2];
    CHECK_EQ(read(fd, info, sizeof info), sizeof info[0]);
    CHECK_EQ(info[0].ssi_signo, SIGUSR1);
}

TEST("sigio_goes_to_a_group") {
    int ends[2];
    OK(pipe(ends));
    catch_signal(SIGIO);
    OK(fcntl(ends[0], F_SETOWN, -getpgrp()));
    CHECK_EQ(fcntl(ends[0], F_GETOWN), -getpgrp());
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    OK(write(ends[1], "x", 1));
    CHECK_EQ(caught, SIGIO);
}

TEST("dupfd_query_compares_descriptions") {
    int ends[2];
    OK(pipe(ends));
    int copy = OK(dup(ends[0]));
    CHECK_EQ(fcntl(ends[0], F_DUPFD_QUERY, copy), 1);
    CHECK_EQ(fcntl(ends[0], F_DUPFD_QUERY, ends[1]), 0);
    CHECK_ERRNO(fcntl(ends[0], F_DUPFD_QUERY, 999), EBADF);
}

TEST("no_lease_is_reported_and_cannot_be_given_up") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0644));
    CHECK_EQ(fcntl(fd, F_GETLEASE), F_UNLCK);
    CHECK_ERRNO(fcntl(fd, F_SETLEASE, F_UNLCK), EAGAIN);
    CHECK_ERRNO(fcntl(OK(open("/dev/null", O_RDONLY)), F_SETLEASE, F_RDLCK), EINVAL);
}

TEST("o_path_descriptor_refuses_fcntl") {
    scratch();
    int fd = OK(open(".", O_PATH));
    CHECK_ERRNO(fcntl(fd, F_SETFL, O_NONBLOCK), EBADF);
    CHECK_ERRNO(fcntl(fd, F_GETOWN), EBADF);
    CHECK_ERRNO(fcntl(fd, F_GETLEASE), EBADF);
    OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_DUPFD_QUERY, fd), 1);
}
