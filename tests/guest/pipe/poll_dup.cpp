// poll and select over pipes; dup, dup2, dup3, fcntl; limits of the descriptor table.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>

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

short poll_once(int fd, short events, int timeout = 0) {
    pollfd one = {fd, events, 0};
    OK(poll(&one, 1, timeout));
    return one.revents;
}
}  // namespace

TEST("poll_readable_and_writable") {
    Pipe one;
    CHECK_EQ(poll_once(one.in, POLLIN), 0);
    CHECK_EQ(poll_once(one.out, POLLOUT), POLLOUT);
    CHECK_EQ(write(one.out, "x", 1), 1);
    CHECK_EQ(poll_once(one.in, POLLIN), POLLIN);
}

TEST("poll_hang_up") {
    Pipe one;
    OK(close(one.out));
    CHECK_EQ(poll_once(one.in, POLLIN), POLLHUP);
    Pipe two;
    CHECK_EQ(write(two.out, "x", 1), 1);
    OK(close(two.out));
    CHECK_EQ(poll_once(two.in, POLLIN), POLLIN | POLLHUP);
}

TEST("poll_error_on_write_end_without_reader") {
    Pipe one;
    OK(close(one.in));
    CHECK_EQ(poll_once(one.out, POLLOUT) & POLLERR, POLLERR);
}

TEST("poll_full_pipe_is_not_writable") {
    Pipe one;
    static char block[65536];
    CHECK_EQ(write(one.out, block, sizeof(block)), sizeof(block));
    CHECK_EQ(poll_once(one.out, POLLOUT), 0);
    CHECK_EQ(read(one.in, block, 4096), 4096);
    CHECK_EQ(poll_once(one.out, POLLOUT), POLLOUT);
}

TEST("poll_invalid_descriptor") {
    CHECK_EQ(poll_once(190, POLLIN), POLLNVAL);
    pollfd negative = {-1, POLLIN, 77};
    CHECK_EQ(poll(&negative, 1, 0), 0);
    CHECK_EQ(negative.revents, 0);
}

TEST("poll_timeout_elapses") {
    Pipe one;
    uint64_t start = now_ns();
    CHECK_EQ(poll_once(one.in, POLLIN, 30), 0);
    CHECK_GE(now_ns() - start, 29000000u);
}

TEST("poll_wakes_when_data_comes") {
    Pipe one;
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(30);
        _exit(write(one.out, "x", 1) == 1 ? 0 : 1);
    }
    CHECK_EQ(poll_once(one.in, POLLIN, 5000), POLLIN);
    OK(waitpid(pid, nullptr, 0));
}

TEST("poll_several_counts_ready") {
    Pipe a, b, c;
    CHECK_EQ(write(a.out, "x", 1), 1);
    CHECK_EQ(write(c.out, "x", 1), 1);
    pollfd list[3] = {{a.in, POLLIN, 0}, {b.in, POLLIN, 0}, {c.in, POLLIN, 0}};
    CHECK_EQ(poll(list, 3, 0), 2);
    CHECK_EQ(list[0].revents, POLLIN);
    CHECK_EQ(list[1].revents, 0);
    CHECK_EQ(list[2].revents, POLLIN);
}

TEST("poll_regular_file_is_always_ready") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    CHECK_EQ(poll_once(fd, POLLIN | POLLOUT), POLLIN | POLLOUT);
}

TEST("poll_too_many_is_einval") {
    rlimit limit = {10, 4096};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    static pollfd list[20];
    CHECK_ERRNO(poll(list, 20, 0), EINVAL);
}

TEST("ppoll_bad_timeout_is_einval") {
    timespec limit = {0, 1000000000};
    CHECK_ERRNO(ppoll(nullptr, 0, &limit, nullptr), EINVAL);
    limit = {-1, 0};
    CHECK_ERRNO(ppoll(nullptr, 0, &limit, nullptr), EINVAL);
}

TEST("select_sets") {
    Pipe a, b;
    CHECK_EQ(write(a.out, "x", 1), 1);
    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(a.in, &in);
    FD_SET(b.in, &in);
    FD_SET(b.out, &out);
    timeval limit = {1, 0};
    CHECK_EQ(select(b.out + 1, &in, &out, nullptr, &limit), 2);
    CHECK(FD_ISSET(a.in, &in));
    CHECK(!FD_ISSET(b.in, &in));
    CHECK(FD_ISSET(b.out, &out));
}

TEST("select_timeout_updates_and_clears") {
    Pipe a;
    fd_set in;
    FD_ZERO(&in);
    FD_SET(a.in, &in);
    timeval limit = {0, 30000};
    CHECK_EQ(select(a.in + 1, &in, nullptr, nullptr, &limit), 0);
    CHECK(!FD_ISSET(a.in, &in));
    CHECK_EQ(limit.tv_sec, 0);
    CHECK_EQ(limit.tv_usec, 0);
}

TEST("select_leaves_remaining_time") {
    Pipe a;
    CHECK_EQ(write(a.out, "x", 1), 1);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(a.in, &in);
    timeval limit = {5, 0};
    CHECK_EQ(select(a.in + 1, &in, nullptr, nullptr, &limit), 1);
    CHECK(limit.tv_sec == 4 || limit.tv_sec == 5);
}

TEST("select_bad_descriptor_is_ebadf") {
    fd_set in;
    FD_ZERO(&in);
    FD_SET(190, &in);
    timeval now = {0, 0};
    CHECK_ERRNO(select(191, &in, nullptr, nullptr, &now), EBADF);
    CHECK_ERRNO(select(-1, nullptr, nullptr, nullptr, &now), EINVAL);
    now = {-1, 0};
    CHECK_ERRNO(select(0, nullptr, nullptr, nullptr, &now), EINVAL);
}

TEST("pselect_works_without_updating_timeout") {
    Pipe a;
    fd_set in;
    FD_ZERO(&in);
    FD_SET(a.in, &in);
    timespec limit = {0, 20000000};
    CHECK_EQ(pselect(a.in + 1, &in, nullptr, nullptr, &limit, nullptr), 0);
    CHECK_EQ(limit.tv_nsec, 20000000);
}

TEST("dup_is_lowest_and_shares_offset") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    int copy = OK(dup(fd));
    CHECK_GT(copy, fd);
    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_EQ(lseek(copy, 0, SEEK_CUR), 3);
    OK(fcntl(fd, F_SETFL, O_APPEND));
    CHECK_EQ(fcntl(copy, F_GETFL) & O_APPEND, O_APPEND);
}

TEST("dup_clears_cloexec") {
    int fd = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(OK(dup(fd)), F_GETFD), 0);
}

TEST("dup2_replaces_and_same_is_noop") {
    Pipe one;
    CHECK_EQ(dup2(one.in, one.in), one.in);
    CHECK_EQ(dup2(one.in, 90), 90);
    int null = OK(open("/dev/null", O_RDONLY));
    CHECK_EQ(dup2(null, 90), 90);
    char byte;
    CHECK_EQ(read(90, &byte, 1), 0);
}

TEST("dup2_closes_target") {
    Pipe one;
    int null = OK(open("/dev/null", O_WRONLY));
    CHECK_EQ(dup2(null, one.out), one.out);
    char byte;
    CHECK_EQ(read(one.in, &byte, 1), 0);
}

TEST("dup_errors") {
    CHECK_ERRNO(dup(190), EBADF);
    CHECK_ERRNO(dup2(190, 5), EBADF);
    CHECK_ERRNO(dup2(1, -1), EBADF);
    CHECK_ERRNO(dup2(1, 100000), EBADF);
    CHECK_ERRNO(dup3(1, 1, 0), EINVAL);
    CHECK_ERRNO(dup3(1, 90, O_APPEND), EINVAL);
    CHECK_ERRNO(close(190), EBADF);
    CHECK_ERRNO(close(-1), EBADF);
}

TEST("dup3_cloexec") {
    CHECK_EQ(dup3(1, 90, O_CLOEXEC), 90);
    CHECK_EQ(fcntl(90, F_GETFD), FD_CLOEXEC);
}

TEST("fcntl_dupfd") {
    CHECK_EQ(fcntl(1, F_DUPFD, 80), 80);
    CHECK_EQ(fcntl(1, F_DUPFD, 80), 81);
    CHECK_EQ(fcntl(1, F_DUPFD_CLOEXEC, 80), 82);
    CHECK_EQ(fcntl(82, F_GETFD), FD_CLOEXEC);
    CHECK_ERRNO(fcntl(1, F_DUPFD, -1), EINVAL);
    CHECK_ERRNO(fcntl(190, F_DUPFD, 0), EBADF);
}

TEST("fcntl_setfl_keeps_access_mode") {
    scratch();
    int fd = OK(open("file", O_WRONLY | O_CREAT, 0600));
    OK(fcntl(fd, F_SETFL, O_RDWR | O_APPEND | O_NONBLOCK));
    CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY | O_APPEND | O_NONBLOCK);
}

TEST("fcntl_unknown_is_einval") { CHECK_ERRNO(fcntl(1, 999, 0), EINVAL); }

TEST("descriptor_limit_is_emfile") {
    rlimit limit = {20, 4096};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    int error = 0;
    for (int i = 0; i < 40 && error == 0; i++)
        if (open("/dev/null", O_RDONLY) < 0) error = errno;
    CHECK_EQ(error, EMFILE);
    CHECK_ERRNO(dup(1), EMFILE);
    int fds[2];
    CHECK_ERRNO(pipe(fds), EMFILE);
    CHECK_ERRNO(fcntl(1, F_DUPFD, 50), EINVAL);
}

TEST("many_descriptors") {
    int first = OK(open("/dev/null", O_RDONLY));
    for (int i = 0; i < 500; i++) OK(dup(first));
    CHECK_EXITED(run_child([] { CHECK_EQ(fcntl(400, F_GETFD), 0); }), 0);
    for (int i = 0; i < 500; i++)
        if (first + 1 + i != 200 && first + 1 + i != 201) close(first + 1 + i);
}

TEST("close_range_closes") {
    for (int i = 0; i < 10; i++) OK(dup2(1, 60 + i));
    long result = syscall(SYS_close_range, 62, 65, 0);
    if (result < 0 && errno == ENOSYS) SKIP("no close_range");
    CHECK_EQ(result, 0);
    CHECK_EQ(fcntl(61, F_GETFD), 0);
    CHECK_ERRNO(fcntl(62, F_GETFD), EBADF);
    CHECK_ERRNO(fcntl(65, F_GETFD), EBADF);
    CHECK_EQ(fcntl(66, F_GETFD), 0);
}
