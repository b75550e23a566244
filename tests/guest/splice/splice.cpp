// splice(2), tee(2), vmsplice(2).
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

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

int used(int fd) {
    int bytes = -1;
    OK(ioctl(fd, FIONREAD, &bytes));
    return bytes;
}

const char* text_of(int fd) {
    static char text[100];
    memset(text, 0, sizeof text);
    OK(read(fd, text, sizeof text - 1));
    return text;
}

}  // namespace

TEST("splice_file_to_pipe") {
    scratch();
    CHECK(write_file("f", "hello world"));
    int fd = OK(open("f", O_RDONLY));
    Pipe pipe;
    CHECK_EQ(OK(splice(fd, nullptr, pipe.out, nullptr, 5, 0)), 5);
    CHECK_STREQ(text_of(pipe.in), "hello");
    loff_t offset = 6;
    CHECK_EQ(OK(splice(fd, &offset, pipe.out, nullptr, 100, 0)), 5);
    CHECK_EQ(offset, 11);
    CHECK_STREQ(text_of(pipe.in), "world");
    CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 5);
    CHECK_EQ(OK(splice(fd, &offset, pipe.out, nullptr, 100, 0)), 0);
}

TEST("splice_pipe_to_file") {
    scratch();
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    Pipe pipe;
    CHECK_EQ(write(pipe.out, "hello world", 11), 11);
    loff_t offset = 3;
    CHECK_EQ(OK(splice(pipe.in, nullptr, fd, &offset, 5, 0)), 5);
    CHECK_EQ(offset, 8);
    CHECK_EQ(OK(splice(pipe.in, nullptr, fd, nullptr, 2, 0)), 2);
    CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 2);
    CHECK_EQ(used(pipe.in), 4);
    char text[20] = {};
    CHECK_EQ(pread(fd, text, sizeof text, 0), 8);
    CHECK_EQ(memcmp(text, " w\0hello", 8), 0);
}

TEST("splice_pipe_to_pipe_moves") {
    Pipe a, b;
    CHECK_EQ(write(a.out, "abcdef", 6), 6);
    CHECK_EQ(OK(splice(a.in, nullptr, b.out, nullptr, 4, 0)), 4);
    CHECK_EQ(used(a.in), 2);
    CHECK_STREQ(text_of(b.in), "abcd");
}

TEST("tee_copies") {
    Pipe a, b;
    CHECK_EQ(write(a.out, "abcdef", 6), 6);
    CHECK_EQ(OK(tee(a.in, b.out, 4, 0)), 4);
    CHECK_EQ(used(a.in), 6);
    CHECK_STREQ(text_of(b.in), "abcd");
    CHECK_STREQ(text_of(a.in), "abcdef");
}

TEST("tee_errors") {
    scratch();
    Pipe a;
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    CHECK_ERRNO(tee(a.in, a.out, 1, 0), EINVAL);
    CHECK_ERRNO(tee(a.in, fd, 1, 0), EINVAL);
    CHECK_ERRNO(tee(a.out, a.out, 1, 0), EBADF);
    CHECK_ERRNO(tee(a.in, a.out, 1, 0x100), EINVAL);
    Pipe b;
    CHECK_ERRNO(tee(a.in, b.out, 1, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_EQ(OK(tee(a.in, b.out, 0, 0)), 0);
}

TEST("splice_errors") {
    scratch();
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), append = OK(open("f", O_RDWR | O_APPEND));
    Pipe a, b;
    loff_t offset = 0;
    CHECK_ERRNO(splice(fd, nullptr, fd, nullptr, 1, 0), EINVAL);
    CHECK_ERRNO(splice(a.in, &offset, fd, nullptr, 1, 0), ESPIPE);
    CHECK_ERRNO(splice(fd, nullptr, a.out, &offset, 1, 0), ESPIPE);
    CHECK_ERRNO(splice(a.in, nullptr, a.out, nullptr, 1, 0), EINVAL);
    CHECK_ERRNO(splice(a.out, nullptr, b.out, nullptr, 1, 0), EBADF);
    CHECK_ERRNO(splice(a.in, nullptr, b.in, nullptr, 1, 0), EBADF);
    CHECK_ERRNO(splice(-1, nullptr, b.out, nullptr, 1, 0), EBADF);
    CHECK_ERRNO(splice(a.in, nullptr, b.out, nullptr, 1, 0x40), EINVAL);
    CHECK_EQ(write(a.out, "x", 1), 1);
    CHECK_ERRNO(splice(a.in, nullptr, append, nullptr, 1, 0), EINVAL);
    CHECK_EQ(OK(splice(-1, nullptr, -1, nullptr, 0, 0)), 0);
    CHECK_ERRNO(splice(fd, reinterpret_cast<loff_t*>(8), a.out, nullptr, 1, 0), EFAULT);
    CHECK_ERRNO(splice(OK(open(".", O_RDONLY)), nullptr, a.out, nullptr, 1, 0), EINVAL);
}

TEST("splice_does_not_block_when_told") {
    Pipe empty, full;
    CHECK_ERRNO(splice(empty.in, nullptr, full.out, nullptr, 1, SPLICE_F_NONBLOCK), EAGAIN);
    static char block[65536];
    CHECK_EQ(write(full.out, block, 65536), 65536);
    scratch();
    CHECK(write_file("f", "x"));
    int fd = OK(open("f", O_RDONLY));
    CHECK_ERRNO(splice(fd, nullptr, full.out, nullptr, 1, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_EQ(write(empty.out, "x", 1), 1);
    CHECK_ERRNO(splice(empty.in, nullptr, full.out, nullptr, 1, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_EQ(used(empty.in), 1);
}

TEST("splice_ends_when_the_writer_is_gone") {
    scratch();
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    Pipe a, b;
    close(a.out);
    CHECK_EQ(OK(splice(a.in, nullptr, fd, nullptr, 10, 0)), 0);
    CHECK_EQ(OK(splice(a.in, nullptr, b.out, nullptr, 10, 0)), 0);
}

TEST("splice_to_a_pipe_without_readers") {
    signal(SIGPIPE, SIG_IGN);
    scratch();
    CHECK(write_file("f", "x"));
    int fd = OK(open("f", O_RDONLY));
    Pipe a;
    close(a.in);
    CHECK_ERRNO(splice(fd, nullptr, a.out, nullptr, 1, 0), EPIPE);
    signal(SIGPIPE, SIG_DFL);
    CHECK_SIGNALED(run_child([&] { splice(fd, nullptr, a.out, nullptr, 1, 0); }), SIGPIPE);
}

TEST("splice_waits_for_data") {
    Pipe a, b;
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(30);
        _exit(write(a.out, "late", 4) == 4 ? 0 : 1);
    }
    CHECK_EQ(OK(splice(a.in, nullptr, b.out, nullptr, 100, 0)), 4);
    CHECK_STREQ(text_of(b.in), "late");
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("splice_large_file_in_pieces") {
    scratch();
    static char block[300000], back[300000];
    for (size_t i = 0; i < sizeof block; ++i) block[i] = static_cast<char>(i * 7);
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), copy = OK(open("g", O_RDWR | O_CREAT, 0644));
    CHECK_EQ(write(fd, block, sizeof block), static_cast<ssize_t>(sizeof block));
    Pipe pipe;
    loff_t offset = 0;
    for (;;) {
        ssize_t in = OK(splice(fd, &offset, pipe.out, nullptr, sizeof block, 0));
        if (in == 0) break;
        while (in > 0) in -= OK(splice(pipe.in, nullptr, copy, nullptr, static_cast<size_t>(in), 0));
    }
    CHECK_EQ(pread(copy, back, sizeof back, 0), static_cast<ssize_t>(sizeof back));
    CHECK_EQ(memcmp(block, back, sizeof block), 0);
}

TEST("vmsplice_into_a_pipe") {
    Pipe pipe;
    char one[] = "one ", two[] = "two";
    iovec parts[2] = {{one, 4}, {two, 3}};
    CHECK_EQ(OK(vmsplice(pipe.out, parts, 2, 0)), 7);
    CHECK_STREQ(text_of(pipe.in), "one two");
}

TEST("vmsplice_out_of_a_pipe") {
    Pipe pipe;
    CHECK_EQ(write(pipe.out, "abcdef", 6), 6);
    char text[10] = {};
    iovec part{text, 4};
    CHECK_EQ(OK(vmsplice(pipe.in, &part, 1, 0)), 4);
    CHECK_STREQ(text, "abcd");
    CHECK_EQ(used(pipe.in), 2);
}

TEST("vmsplice_errors") {
    scratch();
    Pipe pipe;
    char byte = 'x';
    iovec part{&byte, 1};
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    CHECK_ERRNO(vmsplice(fd, &part, 1, 0), EBADF);
    CHECK_ERRNO(vmsplice(pipe.in, &part, 1, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_ERRNO(vmsplice(pipe.out, &part, 1025, 0), EINVAL);
    CHECK_ERRNO(vmsplice(pipe.out, &part, 1, 0x100), EINVAL);
    CHECK_EQ(OK(vmsplice(pipe.out, &part, 0, 0)), 0);
    static char block[65536];
    CHECK_EQ(write(pipe.out, block, 65536), 65536);
    CHECK_ERRNO(vmsplice(pipe.out, &part, 1, SPLICE_F_NONBLOCK), EAGAIN);
}
