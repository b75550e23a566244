// ppoll, select, pselect6: timeouts, masks, limits, bad arguments.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

struct Pipe {
    int in, out;
    Pipe() {
        int fds[2];
        OK(pipe(fds));
        in = fds[0];
        out = fds[1];
    }
};

volatile sig_atomic_t handled;
void count_signal(int) { handled = handled + 1; }

void catch_signal(int signal, int flags = 0) {
    struct sigaction action = {};
    action.sa_handler = count_signal;
    action.sa_flags = flags;
    OK(sigaction(signal, &action, nullptr));
}

}  // namespace

TEST("poll_bad_descriptors") {
    pollfd fds[3] = {{-5, POLLIN, 77}, {999, POLLIN, 77}, {-1, POLLIN, 77}};
    CHECK_EQ(poll(fds, 3, 0), 1);
    CHECK_EQ(fds[0].revents, 0);
    CHECK_EQ(fds[1].revents, POLLNVAL);
    CHECK_ERRNO(poll(reinterpret_cast<pollfd*>(8), 1, 0), EFAULT);
    rlimit limit = {};
    OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 16;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    static pollfd many[32];
    CHECK_ERRNO(poll(many, 17, 0), EINVAL);
}

TEST("poll_times_out") {
    Pipe pipe;
    pollfd one = {pipe.in, POLLIN, 0};
    const uint64_t start = now_ns();
    CHECK_EQ(poll(&one, 1, 60), 0);
    CHECK_GE(now_ns() - start, 60'000'000u);
    CHECK_EQ(poll(nullptr, 0, 1), 0);
}

TEST("poll_wakes_for_another_process") {
    Pipe pipe;
    if (OK(fork()) == 0) {
        sleep_ms(50);
        OK(write(pipe.out, "x", 1));
        _exit(0);
    }
    pollfd fds[2] = {{pipe.in, POLLIN, 0}, {0, 0, 0}};
    CHECK_EQ(poll(fds, 1, 5000), 1);
    CHECK_EQ(fds[0].revents, POLLIN);
}

TEST("poll_interrupted_by_a_handler_is_never_restarted") {
    catch_signal(SIGALRM, SA_RESTART);
    itimerval soon = {{0, 0}, {0, 50'000}};
    OK(setitimer(ITIMER_REAL, &soon, nullptr));
    CHECK_ERRNO(poll(nullptr, 0, 5000), EINTR);
    CHECK_EQ(handled, 1);
}

TEST("poll_goes_on_after_stop_and_continue") {
    const pid_t child = OK(fork());
    if (child == 0) {
        const uint64_t start = now_ns();
        if (poll(nullptr, 0, 300) != 0) _exit(1);
        _exit(now_ns() - start >= 300'000'000u ? 0 : 2);
    }
    sleep_ms(50);
    OK(kill(child, SIGSTOP));
    int status;
    OK(waitpid(child, &status, WUNTRACED));
    sleep_ms(50);
    OK(kill(child, SIGCONT));
    OK(waitpid(child, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("ppoll_swaps_the_signal_mask") {
    catch_signal(SIGUSR1);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &blocked, nullptr));
    OK(raise(SIGUSR1));
    CHECK_EQ(handled, 0);
    timespec timeout = {5, 0};
    CHECK_ERRNO(ppoll(nullptr, 0, &timeout, &none), EINTR);
    CHECK_EQ(handled, 1);
    sigset_t now;
    OK(sigprocmask(SIG_BLOCK, nullptr, &now));
    CHECK(sigismember(&now, SIGUSR1));
    timespec zero = {0, 1000000};
    CHECK_EQ(ppoll(nullptr, 0, &zero, &none), 0);
    OK(sigprocmask(SIG_BLOCK, nullptr, &now));
    CHECK(sigismember(&now, SIGUSR1));
}

TEST("ppoll_bad_arguments") {
    timespec wrong = {0, 1'000'000'000};
    CHECK_ERRNO(syscall(SYS_ppoll, nullptr, 0, &wrong, nullptr, 8), EINVAL);
    wrong = {-1, 0};
    CHECK_ERRNO(syscall(SYS_ppoll, nullptr, 0, &wrong, nullptr, 8), EINVAL);
    uint64_t mask = 0;
    timespec zero = {0, 0};
    CHECK_ERRNO(syscall(SYS_ppoll, nullptr, 0, &zero, &mask, 4), EINVAL);
    CHECK_ERRNO(syscall(SYS_ppoll, nullptr, 0, 8, nullptr, 8), EFAULT);
}

TEST("ppoll_writes_back_what_is_left") {
    Pipe pipe;
    OK(write(pipe.out, "x", 1));
    pollfd one = {pipe.in, POLLIN, 0};
    timespec timeout = {5, 0};
    CHECK_EQ(syscall(SYS_ppoll, &one, 1, &timeout, nullptr, 8), 1);
    CHECK_EQ(timeout.tv_sec, 4);
}

TEST("select_sets") {
    Pipe a, b;
    OK(write(a.out, "x", 1));
    fd_set in, out, except;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    FD_SET(a.in, &in), FD_SET(b.in, &in), FD_SET(b.out, &out), FD_SET(a.in, &except);
    timeval timeout = {5, 0};
    CHECK_EQ(select(b.out + 1, &in, &out, &except, &timeout), 2);
    CHECK(FD_ISSET(a.in, &in));
    CHECK(!FD_ISSET(b.in, &in));
    CHECK(FD_ISSET(b.out, &out));
    CHECK(!FD_ISSET(a.in, &except));
    CHECK_EQ(timeout.tv_sec, 4);
}

TEST("select_timeout_clears_the_sets") {
    Pipe pipe;
    fd_set in;
    FD_ZERO(&in);
    FD_SET(pipe.in, &in);
    timeval timeout = {0, 20'000};
    CHECK_EQ(select(pipe.in + 1, &in, nullptr, nullptr, &timeout), 0);
    CHECK(!FD_ISSET(pipe.in, &in));
    CHECK_EQ(timeout.tv_usec, 0);
}

TEST("select_bad_arguments") {
    CHECK_ERRNO(select(-1, nullptr, nullptr, nullptr, nullptr), EINVAL);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(20, &in);
    timeval zero = {0, 0};
    CHECK_ERRNO(select(21, &in, nullptr, nullptr, &zero), EBADF);
    timeval negative = {-1, 0};
    CHECK_ERRNO(syscall(SYS_select, 0, nullptr, nullptr, nullptr, &negative), EINVAL);
    CHECK_ERRNO(syscall(SYS_select, 1, 8, nullptr, nullptr, &zero), EFAULT);
}

TEST("pselect_swaps_the_signal_mask") {
    catch_signal(SIGUSR1);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &blocked, nullptr));
    OK(raise(SIGUSR1));
    timespec timeout = {5, 0};
    CHECK_ERRNO(pselect(0, nullptr, nullptr, nullptr, &timeout, &none), EINTR);
    CHECK_EQ(handled, 1);
}
