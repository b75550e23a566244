// Pipes and named pipes.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <climits>
#include <thread>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
struct Pipe {
    int in, out;  // read end, write end
    explicit Pipe(int flags = 0) {
        int fds[2];
        OK(pipe2(fds, flags));
        in = fds[0];
        out = fds[1];
    }
};
char block[1 << 20];
}  // namespace

TEST("bytes_go_through_in_order") {
    Pipe one;
    CHECK_EQ(write(one.out, "abc", 3), 3);
    CHECK_EQ(write(one.out, "def", 3), 3);
    char text[10] = {};
    CHECK_EQ(read(one.in, text, 4), 4);
    CHECK_STREQ(text, "abcd");
    memset(text, 0, sizeof(text));
    CHECK_EQ(read(one.in, text, 10), 2);
    CHECK_STREQ(text, "ef");
}

TEST("wrong_end_is_ebadf") {
    Pipe one;
    char byte;
    CHECK_ERRNO(read(one.out, &byte, 1), EBADF);
    CHECK_ERRNO(write(one.in, "x", 1), EBADF);
}

TEST("lowest_descriptors") {
    close(50);
    Pipe one;
    CHECK_EQ(one.out, one.in + 1);
}

TEST("end_of_file_when_writers_gone") {
    Pipe one;
    CHECK_EQ(write(one.out, "x", 1), 1);
    OK(close(one.out));
    char byte;
    CHECK_EQ(read(one.in, &byte, 1), 1);
    CHECK_EQ(read(one.in, &byte, 1), 0);
    CHECK_EQ(read(one.in, &byte, 1), 0);
}

TEST("reader_wakes_at_close") {
    Pipe one;
    pid_t pid = OK(fork());
    if (pid == 0) {
        close(one.out);
        char byte;
        _exit(read(one.in, &byte, 1) == 0 ? 0 : 1);
    }
    sleep_ms(20);
    close(one.out);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("epipe_with_sigpipe_ignored") {
    signal(SIGPIPE, SIG_IGN);
    Pipe one;
    OK(close(one.in));
    CHECK_ERRNO(write(one.out, "x", 1), EPIPE);
}

TEST("zero_length") {
    Pipe one;
    CHECK_EQ(write(one.out, "", 0), 0);
    char byte;
    CHECK_EQ(read(one.in, &byte, 0), 0);
}

TEST("capacity_is_64k") {
    Pipe one(O_NONBLOCK);
    CHECK_EQ(write(one.out, block, sizeof(block)), 65536);
    CHECK_ERRNO(write(one.out, "x", 1), EAGAIN);
    CHECK_EQ(fcntl(one.out, F_GETPIPE_SZ), 65536);
}

TEST("capacity_can_be_set") {
    Pipe one(O_NONBLOCK);
    CHECK_EQ(fcntl(one.out, F_SETPIPE_SZ, 4096), 4096);
    CHECK_EQ(write(one.out, block, 65536), 4096);
    CHECK_EQ(fcntl(one.out, F_SETPIPE_SZ, 5000), 8192);
}

TEST("nonblock_read_empty_is_eagain") {
    Pipe one(O_NONBLOCK);
    char byte;
    CHECK_ERRNO(read(one.in, &byte, 1), EAGAIN);
}

TEST("nonblock_small_write_is_all_or_nothing") {
    Pipe one(O_NONBLOCK);
    CHECK_EQ(write(one.out, block, 65536 - 100), 65536 - 100);
    CHECK_ERRNO(write(one.out, block, PIPE_BUF), EAGAIN);
    CHECK_EQ(write(one.out, block, 100), 100);
}

TEST("flags_are_per_end") {
    Pipe one;
    OK(fcntl(one.in, F_SETFL, O_NONBLOCK));
    CHECK_EQ(fcntl(one.in, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_RDONLY);
    CHECK_EQ(fcntl(one.out, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_WRONLY);
}

TEST("pipe2_flags") {
    Pipe one(O_CLOEXEC | O_NONBLOCK);
    CHECK_EQ(fcntl(one.in, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(one.out, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    int fds[2];
    CHECK_ERRNO(syscall(SYS_pipe2, fds, 0x1), EINVAL);
}

TEST("atomic_writes_of_many_writers") {
    // Records of PIPE_BUF / 8 bytes by several writers must not be mixed.
    Pipe one;
    constexpr int kWriters = 4, kRecords = 40;
    constexpr size_t kSize = PIPE_BUF / 8;
    for (int i = 0; i < kWriters; i++) {
        if (OK(fork()) != 0) continue;
        char record[kSize];
        memset(record, 'A' + i, kSize);
        for (int n = 0; n < kRecords; n++) CHECK_EQ(write(one.out, record, kSize), kSize);
        _exit(0);
    }
    close(one.out);
    int counts[kWriters] = {};
    for (;;) {
        char record[kSize];
        size_t filled = 0;
        ssize_t n = 1;
        while (filled < kSize && (n = read(one.in, record + filled, kSize - filled)) > 0)
            filled += static_cast<size_t>(n);
        if (filled == 0) break;
        CHECK_EQ(filled, kSize);
        for (size_t i = 1; i < kSize; i++) CHECK_EQ(record[i], record[0]);
        counts[record[0] - 'A']++;
    }
    for (int count : counts) CHECK_EQ(count, kRecords);
    while (wait(nullptr) > 0) {}
}

// A writer whose memory is gone when there is room for it leaves the room to the next one.
TEST("failing_writer_wakes_the_next") {
    int ends[2];
    OK(pipe(ends));
    static char full[65536];
    CHECK_EQ(OK(write(ends[1], full, sizeof full)), sizeof full);
    char* const page =
        static_cast<char*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    ssize_t first = 0, second = 0;
    std::thread bad([&] { first = write(ends[1], page, 4096); });
    sleep_ms(50);
    std::thread good([&] { second = write(ends[1], full, 4096); });
    sleep_ms(50);
    OK(munmap(page, 4096));
    CHECK_EQ(OK(read(ends[0], full, sizeof full)), sizeof full);
    good.join();
    bad.join();
    CHECK_EQ(first, -1);
    CHECK_EQ(second, 4096);
}

TEST("large_transfer_between_processes") {
    Pipe one;
    constexpr size_t kTotal = 4 << 20;
    pid_t pid = OK(fork());
    if (pid == 0) {
        close(one.in);
        for (size_t i = 0; i < sizeof(block); i++) block[i] = static_cast<char>(i * 7);
        for (size_t sent = 0; sent < kTotal; sent += sizeof(block))
            CHECK_EQ(write(one.out, block, sizeof(block)), sizeof(block));
        _exit(0);
    }
    close(one.out);
    size_t total = 0;
    for (ssize_t n; (n = read(one.in, block, 10007)) > 0;) {
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(block[i], static_cast<char>(((total + static_cast<size_t>(i)) % sizeof(block)) * 7));
        total += static_cast<size_t>(n);
    }
    CHECK_EQ(total, kTotal);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("ping_pong_two_pipes") {
    Pipe there, back;
    pid_t pid = OK(fork());
    if (pid == 0) {
        close(there.out);
        char byte;
        while (read(there.in, &byte, 1) == 1) {
            byte++;
            CHECK_EQ(write(back.out, &byte, 1), 1);
        }
        _exit(0);
    }
    for (int i = 0; i < 500; i++) {
        char byte = static_cast<char>(i), answer;
        CHECK_EQ(write(there.out, &byte, 1), 1);
        CHECK_EQ(read(back.in, &answer, 1), 1);
        CHECK_EQ(answer, static_cast<char>(byte + 1));
    }
    close(there.out);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("readv_writev") {
    Pipe one;
    iovec out[3] = {{const_cast<char*>("ab"), 2}, {nullptr, 0}, {const_cast<char*>("cde"), 3}};
    CHECK_EQ(writev(one.out, out, 3), 5);
    char a[2], b[10];
    iovec in[2] = {{a, 2}, {b, 10}};
    CHECK_EQ(readv(one.in, in, 2), 5);
    CHECK_EQ(memcmp(a, "ab", 2), 0);
    CHECK_EQ(memcmp(b, "cde", 3), 0);
    CHECK_ERRNO(writev(one.out, out, -1), EINVAL);
    CHECK_ERRNO(writev(one.out, out, IOV_MAX + 1), EINVAL);
    CHECK_EQ(writev(one.out, out, 0), 0);
}

TEST("seek_and_positioned_io_is_espipe") {
    Pipe one;
    char byte;
    CHECK_ERRNO(lseek(one.in, 0, SEEK_CUR), ESPIPE);
    CHECK_ERRNO(pread(one.in, &byte, 1, 0), ESPIPE);
    CHECK_ERRNO(pwrite(one.out, "x", 1, 0), ESPIPE);
}

TEST("fstat_is_fifo") {
    Pipe one;
    struct stat info;
    OK(fstat(one.in, &info));
    CHECK(S_ISFIFO(info.st_mode));
    CHECK_EQ(info.st_mode & 0777, 0600);
    CHECK_EQ(info.st_size, 0);
}

TEST("fionread") {
    Pipe one;
    CHECK_EQ(write(one.out, "abcde", 5), 5);
    int count = -1;
    OK(ioctl(one.in, FIONREAD, &count));
    CHECK_EQ(count, 5);
}

TEST("fionbio") {
    Pipe one;
    int on = 1;
    OK(ioctl(one.in, FIONBIO, &on));
    char byte;
    CHECK_ERRNO(read(one.in, &byte, 1), EAGAIN);
}

TEST("ftruncate_is_einval_ioctl_tty_is_enotty") {
    Pipe one;
    CHECK_ERRNO(ftruncate(one.out, 0), EINVAL);
    char space[100];
    CHECK_ERRNO(ioctl(one.in, 0x5401 /* TCGETS */, space), ENOTTY);
    CHECK_ERRNO(fsync(one.in), EINVAL);
}

TEST("proc_fd_link_names_pipe") {
    Pipe one;
    char path[64], target[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", one.in);
    ssize_t n = OK(readlink(path, target, sizeof(target) - 1));
    target[n] = 0;
    struct stat info;
    OK(fstat(one.in, &info));
    char expected[64];
    snprintf(expected, sizeof(expected), "pipe:[%lu]", info.st_ino);
    CHECK_STREQ(target, expected);
}

TEST("fifo_connects_two_processes") {
    scratch();
    OK(mkfifo("fifo", 0600));
    pid_t pid = OK(fork());
    if (pid == 0) {
        int fd = OK(open("fifo", O_WRONLY));
        _exit(write(fd, "hi", 2) == 2 ? 0 : 1);
    }
    int fd = OK(open("fifo", O_RDONLY));
    char text[10] = {};
    CHECK_EQ(read(fd, text, 10), 2);
    CHECK_EQ(read(fd, text, 10), 0);
    OK(waitpid(pid, nullptr, 0));
}

TEST("fifo_nonblock_open") {
    scratch();
    OK(mkfifo("fifo", 0600));
    CHECK_ERRNO(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
    int in = OK(open("fifo", O_RDONLY | O_NONBLOCK));
    int out = OK(open("fifo", O_WRONLY | O_NONBLOCK));
    CHECK_EQ(write(out, "x", 1), 1);
    char byte;
    CHECK_EQ(read(in, &byte, 1), 1);
}
