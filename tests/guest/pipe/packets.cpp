// Packets (O_DIRECT), sizes and opening rules of pipes and FIFOs.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

struct Pipe {
    int in, out;  // read end, write end
    explicit Pipe(int flags = 0) {
        int fds[2];
        OK(pipe2(fds, flags));
        in = fds[0], out = fds[1];
    }
};

}  // namespace

TEST("packets_are_read_one_by_one") {
    Pipe pipe(O_DIRECT);
    CHECK_EQ(write(pipe.out, "abc", 3), 3);
    CHECK_EQ(write(pipe.out, "de", 2), 2);
    char text[100];
    CHECK_EQ(read(pipe.in, text, sizeof text), 3);
    CHECK_EQ(read(pipe.in, text, sizeof text), 2);
}

TEST("rest_of_a_packet_is_dropped") {
    Pipe pipe(O_DIRECT);
    CHECK_EQ(write(pipe.out, "abcdef", 6), 6);
    CHECK_EQ(write(pipe.out, "x", 1), 1);
    char text[100] = {};
    CHECK_EQ(read(pipe.in, text, 2), 2);
    CHECK_EQ(read(pipe.in, text, sizeof text), 1);
    CHECK_EQ(text[0], 'x');
}

TEST("packets_are_a_page_at_most") {
    Pipe pipe(O_DIRECT);
    static char block[20000];
    CHECK_EQ(write(pipe.out, block, 10000), 10000);
    CHECK_EQ(read(pipe.in, block, sizeof block), 4096);
    CHECK_EQ(read(pipe.in, block, sizeof block), 4096);
    CHECK_EQ(read(pipe.in, block, sizeof block), 1808);
}

TEST("packets_take_a_page_each") {
    Pipe pipe(O_DIRECT | O_NONBLOCK);
    int count = 0;
    while (write(pipe.out, "x", 1) == 1) ++count;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(count, 16);
    int bytes;
    OK(ioctl(pipe.in, FIONREAD, &bytes));
    CHECK_EQ(bytes, 16);
    pollfd one{pipe.out, POLLOUT, 0};
    CHECK_EQ(poll(&one, 1, 0), 0);
    char byte;
    CHECK_EQ(read(pipe.in, &byte, 1), 1);
    CHECK_EQ(poll(&one, 1, 0), 1);
}

TEST("packet_joins_a_page_of_the_stream") {
    Pipe pipe;
    CHECK_EQ(write(pipe.out, "abc", 3), 3);
    OK(fcntl(pipe.out, F_SETFL, O_DIRECT));
    CHECK_EQ(write(pipe.out, "def", 3), 3);
    CHECK_EQ(write(pipe.out, "ghi", 3), 3);
    char text[100];
    CHECK_EQ(read(pipe.in, text, sizeof text), 9);
    CHECK_EQ(write(pipe.out, "abc", 3), 3);
    CHECK_EQ(write(pipe.out, "def", 3), 3);
    CHECK_EQ(read(pipe.in, text, sizeof text), 3);
}

TEST("pipe_size_rules") {
    Pipe pipe;
    CHECK_EQ(OK(fcntl(pipe.in, F_GETPIPE_SZ)), 65536);
    CHECK_EQ(OK(fcntl(pipe.in, F_SETPIPE_SZ, 1)), 4096);
    CHECK_EQ(OK(fcntl(pipe.in, F_SETPIPE_SZ, 0)), 4096);
    CHECK_EQ(OK(fcntl(pipe.in, F_SETPIPE_SZ, 4097)), 8192);
    CHECK_EQ(OK(fcntl(pipe.in, F_SETPIPE_SZ, 1 << 20)), 1 << 20);
    CHECK_ERRNO(fcntl(pipe.in, F_SETPIPE_SZ, (1 << 20) + 1), EPERM);
    CHECK_ERRNO(fcntl(pipe.in, F_SETPIPE_SZ, 0x80000001u), EINVAL);
    CHECK_ERRNO(fcntl(OK(open("/dev/null", O_RDONLY)), F_GETPIPE_SZ), EBADF);
}

// fs.pipe-user-pages-soft: a user without privileges has 64 MiB, then pipes are small and do not grow.
TEST("pages_of_a_user_are_bounded") {
    CHECK_EQ(run_child([] {
                 OK(setresgid(4321, 4321, 4321));
                 OK(setresuid(4321, 4321, 4321));
                 int ends[2], last = -1, grown = 0;
                 for (int i = 0; i < 80 && grown == i; ++i) {
                     OK(pipe(ends));
                     last = ends[0];
                     grown += fcntl(last, F_SETPIPE_SZ, 1 << 20) == 1 << 20;
                 }
                 CHECK_EQ(errno, EPERM);
                 CHECK_GE(grown, 60);
                 CHECK_LE(grown, 64);
                 while (fcntl(last, F_GETPIPE_SZ) == 65536) {
                     OK(pipe(ends));
                     last = ends[0];
                 }
                 CHECK_EQ(fcntl(last, F_GETPIPE_SZ), 8192);
                 CHECK_EQ(OK(fcntl(last, F_SETPIPE_SZ, 4096)), 4096);
                 CHECK_ERRNO(fcntl(last, F_SETPIPE_SZ, 65536), EPERM);
             }),
             0);
    int ends[2];
    OK(pipe(ends));
    CHECK_EQ(fcntl(ends[0], F_GETPIPE_SZ), 65536);
}

TEST("pipe_size_cannot_cut_what_is_in_it") {
    Pipe pipe;
    static char block[10000];
    CHECK_EQ(write(pipe.out, block, sizeof block), static_cast<ssize_t>(sizeof block));
    CHECK_ERRNO(fcntl(pipe.in, F_SETPIPE_SZ, 8192), EBUSY);
    CHECK_EQ(OK(fcntl(pipe.in, F_SETPIPE_SZ, 12000)), 16384);
}

TEST("fifo_open_rules") {
    scratch();
    OK(mkfifo("p", 0600));
    CHECK_ERRNO(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = OK(open("p", O_RDONLY | O_NONBLOCK));
    int writer = OK(open("p", O_WRONLY | O_NONBLOCK));
    close(reader);
    close(writer);
    int both = OK(open("p", O_RDWR));
    CHECK_EQ(write(both, "x", 1), 1);
    char byte;
    CHECK_EQ(read(both, &byte, 1), 1);
}

TEST("fifo_failed_open_leaves_no_trace") {
    scratch();
    OK(mkfifo("p", 0600));
    int reader = OK(open("p", O_RDONLY | O_NONBLOCK));
    pollfd one{reader, POLLIN, 0};
    CHECK_EQ(poll(&one, 1, 0), 0);
    close(reader);
    CHECK_ERRNO(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
    reader = OK(open("p", O_RDONLY | O_NONBLOCK));
    one.fd = reader;
    CHECK_EQ(poll(&one, 1, 0), 0);
}

TEST("fifo_open_waits_for_the_other_side") {
    scratch();
    OK(mkfifo("p", 0600));
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(30);
        int fd = open("p", O_WRONLY);
        _exit(write(fd, "x", 1) == 1 ? 0 : 1);
    }
    int reader = OK(open("p", O_RDONLY));
    char byte;
    CHECK_EQ(read(reader, &byte, 1), 1);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}
