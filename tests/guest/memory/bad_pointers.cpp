// EFAULT from system calls given bad pointers: unmapped, read-only, PROT_NONE, crossing into an unmapped page, not
// canonical.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096;

// Addresses that no call may write to.
struct BadAddresses {
    void* list[6];
    BadAddresses() {
        char* memory = static_cast<char*>(
            OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
        OK(munmap(memory + 3 * kPage, kPage));
        OK(mprotect(memory, kPage, PROT_NONE));
        OK(mprotect(memory + kPage, kPage, PROT_READ));
        list[0] = reinterpret_cast<void*>(8);
        list[1] = memory;                  // PROT_NONE
        list[2] = memory + kPage;          // read-only
        list[3] = memory + 3 * kPage - 2;  // runs into the unmapped page
        list[4] = reinterpret_cast<void*>(0x8000000000000000ul);
        list[5] = reinterpret_cast<void*>(0x7ffffffff000ul);
    }
};

template <typename Call>
void each_is_efault(const char* what, Call call) {
    static BadAddresses bad;
    for (size_t i = 0; i < 6; i++) {
        errno = 0;
        long result = call(bad.list[i]);
        if (result != -1 || errno != EFAULT)
            fail(__FILE__, __LINE__, "%s with bad address %zu: %ld, %s", what, i, result, strerror(errno));
    }
}
}  // namespace

#define EFAULT_TEST(name, expression)                                         \
    TEST("efault_" name) {                                                    \
        each_is_efault(name, [](void* bad) -> long { return (expression); }); \
    }

EFAULT_TEST("pipe", syscall(SYS_pipe, bad))
EFAULT_TEST("uname", syscall(SYS_uname, bad))
EFAULT_TEST("clock_gettime", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, bad))
EFAULT_TEST("gettimeofday", syscall(SYS_gettimeofday, bad, nullptr))
EFAULT_TEST("times", syscall(SYS_times, bad))
EFAULT_TEST("getrlimit", syscall(SYS_getrlimit, RLIMIT_NOFILE, bad))
EFAULT_TEST("getrusage", syscall(SYS_getrusage, RUSAGE_SELF, bad))
EFAULT_TEST("sysinfo", syscall(SYS_sysinfo, bad))
EFAULT_TEST("stat", syscall(SYS_stat, "/", bad))
EFAULT_TEST("fstat", syscall(SYS_fstat, 1, bad))
EFAULT_TEST("newfstatat", syscall(SYS_newfstatat, AT_FDCWD, "/", bad, 0))
EFAULT_TEST("statfs", syscall(SYS_statfs, "/", bad))
EFAULT_TEST("getcwd", (chdir("/bin"), syscall(SYS_getcwd, bad, 100)))
EFAULT_TEST("getresuid", syscall(SYS_getresuid, bad, bad, bad))
EFAULT_TEST("sched_getaffinity", syscall(SYS_sched_getaffinity, 0, 128, bad))
EFAULT_TEST("sigprocmask_old", syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, bad, 8))
EFAULT_TEST("sigaction_old", syscall(SYS_rt_sigaction, SIGUSR1, nullptr, bad, 8))
EFAULT_TEST("sigpending", syscall(SYS_rt_sigpending, bad, 8))

// The bytes before the bad page may be filled: at address 3 there are two good ones.
EFAULT_TEST("getrandom", ({
                long n = syscall(SYS_getrandom, bad, 16, 0);
                if (n == 2) {
                    n = -1;
                    errno = EFAULT;
                }
                n;
            }))
EFAULT_TEST("getitimer", syscall(SYS_getitimer, ITIMER_REAL, bad))
EFAULT_TEST("clock_getres", syscall(SYS_clock_getres, CLOCK_MONOTONIC, bad))

EFAULT_TEST("read_file", ({
                int fd = open("/bin/helper_static", O_RDONLY);
                long n = pread(fd, bad, 16, 0);
                int error = errno;
                if (n == 2) {
                    n = -1;
                    error = EFAULT;
                }
                close(fd);
                errno = error;
                n;
            }))

TEST("efault_read_pipe_keeps_data") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    CHECK_ERRNO(read(fds[0], reinterpret_cast<void*>(8), 3), EFAULT);
    char text[4] = {};
    CHECK_EQ(read(fds[0], text, 3), 3);
    CHECK_STREQ(text, "abc");
}

TEST("efault_write_pipe") {
    int fds[2];
    OK(pipe(fds));
    CHECK_ERRNO(write(fds[1], reinterpret_cast<void*>(8), 3), EFAULT);
    CHECK_ERRNO(write(fds[1], reinterpret_cast<void*>(0x800000000000ul), 3), EFAULT);
}

TEST("efault_write_file_partial") {
    // One good page followed by a hole: what could be read is written.
    scratch();
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    memset(memory, 'x', kPage);
    OK(munmap(memory + kPage, kPage));
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    ssize_t n = write(fd, memory, 2 * kPage);
    CHECK(n == static_cast<ssize_t>(kPage) || (n == -1 && errno == EFAULT));
    CHECK_ERRNO(write(fd, memory + kPage, 10), EFAULT);
}

TEST("efault_paths") {
    const char* bad = reinterpret_cast<const char*>(8);
    CHECK_ERRNO(open(bad, O_RDONLY), EFAULT);
    CHECK_ERRNO(syscall(SYS_access, bad, 0), EFAULT);
    CHECK_ERRNO(unlink(bad), EFAULT);
    CHECK_ERRNO(mkdir(bad, 0700), EFAULT);
    CHECK_ERRNO(rmdir(bad), EFAULT);
    CHECK_ERRNO(chdir(bad), EFAULT);
    CHECK_ERRNO(rename(bad, "x"), EFAULT);
    CHECK_ERRNO(rename("/bin/x", bad), EFAULT);
    CHECK_ERRNO(link(bad, "x"), EFAULT);
    CHECK_ERRNO(symlink(bad, "x"), EFAULT);
    CHECK_ERRNO(chmod(bad, 0), EFAULT);
    CHECK_ERRNO(chown(bad, 0, 0), EFAULT);
    CHECK_ERRNO(truncate(bad, 0), EFAULT);
    char buffer[10];
    CHECK_ERRNO(readlink(bad, buffer, 10), EFAULT);
    struct stat info;
    CHECK_ERRNO(syscall(SYS_stat, bad, &info), EFAULT);
}

TEST("efault_path_runs_into_unmapped_page") {
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(munmap(memory + kPage, kPage));
    memcpy(memory + kPage - 4, "/bin", 4);
    CHECK_ERRNO(open(memory + kPage - 4, O_RDONLY), EFAULT);
    memcpy(memory + kPage - 5, "/bin", 5);
    OK(open(memory + kPage - 5, O_RDONLY));
}

TEST("efault_iovec") {
    int fds[2];
    OK(pipe(fds));
    CHECK_ERRNO(syscall(SYS_writev, fds[1], 8, 1), EFAULT);
    CHECK_ERRNO(syscall(SYS_readv, fds[0], 8, 1), EFAULT);
    iovec one = {reinterpret_cast<void*>(8), 5};
    CHECK_ERRNO(writev(fds[1], &one, 1), EFAULT);
}

TEST("efault_nanosleep_and_futex") {
    CHECK_ERRNO(syscall(SYS_nanosleep, 8, nullptr), EFAULT);
    CHECK_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, 8, nullptr), EFAULT);
    CHECK_ERRNO(syscall(SYS_futex, 8, FUTEX_WAIT, 0, nullptr, nullptr, 0), EFAULT);
    int word = 0;
    CHECK_ERRNO(syscall(SYS_futex, &word, FUTEX_WAIT, 0, 8, nullptr, 0), EFAULT);
}

TEST("efault_poll_select") {
    CHECK_ERRNO(syscall(SYS_poll, 8, 1, 0), EFAULT);
    CHECK_ERRNO(syscall(SYS_select, 1, 8, nullptr, nullptr, nullptr), EFAULT);
    fd_set set;
    FD_ZERO(&set);
    CHECK_ERRNO(syscall(SYS_select, 1, &set, nullptr, nullptr, 8), EFAULT);
}

TEST("efault_sigaction_new") {
    CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, 8, nullptr, 8), EFAULT);
    CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, nullptr, 8), EFAULT);
    CHECK_ERRNO(syscall(SYS_rt_sigsuspend, 8, 8), EFAULT);
    CHECK_ERRNO(syscall(SYS_sigaltstack, 8, nullptr), EFAULT);
}

TEST("efault_setitimer_setrlimit_sethostname") {
    CHECK_ERRNO(syscall(SYS_setitimer, ITIMER_REAL, 8, nullptr), EFAULT);
    CHECK_ERRNO(syscall(SYS_setrlimit, RLIMIT_NOFILE, 8), EFAULT);
    CHECK_ERRNO(syscall(SYS_setgroups, 3, 8), EFAULT);
}

TEST("efault_getdents") {
    int fd = OK(open("/", O_RDONLY | O_DIRECTORY));
    CHECK_ERRNO(syscall(SYS_getdents64, fd, 8, 4096), EFAULT);
}

TEST("kernel_write_to_lazy_memory_faults_it_in") {
    // The buffer has never been touched: the kernel itself must bring its pages in.
    char* memory = static_cast<char*>(
        OK(mmap(nullptr, 8 * 1024 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    int fd = OK(open("/dev/urandom", O_RDONLY));
    CHECK_EQ(read(fd, memory + 4000000, 300000), 300000);
    int different = 0;
    for (int i = 0; i < 300000; i++) different += memory[4000000 + i] != 0;
    CHECK_GT(different, 250000);
}
