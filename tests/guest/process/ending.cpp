// A process that ends may stay a while without memory and files of its own: closing them can take time on a real file
// system, as /scratch is one. Whatever others do to it then gives a result or an error.
#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

// Calls touch(pid) from the child's exit on until it is a zombie, and once more.
template <typename Touch>
void touch_while_it_ends(Touch touch) {
    for (int i = 0; i < 12; ++i) {
        const pid_t child = OK(fork());
        if (child == 0) {
            char path[64];
            snprintf(path, sizeof path, "/scratch/ending.%d", i % 4);
            const int fd = OK(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
            static char bytes[100'000];
            CHECK_EQ(write(fd, bytes, sizeof bytes), static_cast<ssize_t>(sizeof bytes));
            _exit(0);
        }
        siginfo_t info = {};
        while (info.si_pid == 0) {
            touch(child);
            OK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT));
        }
        touch(child);
        int status;
        while (OK(waitpid(child, &status, 0)) == child && WIFSTOPPED(status)) ptrace(PTRACE_CONT, child, 0, 0);
        CHECK(WIFEXITED(status));
    }
}

void read_all_of(const char* folder) {
    DIR* list = opendir(folder);
    if (!list) return;
    while (const dirent* entry = readdir(list)) {
        if (entry->d_name[0] == '.') continue;
        const int fd = openat(dirfd(list), entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        char bytes[256];
        // What is in a pipe, such as standard output, is for its reader.
        struct stat status = {};
        const bool pipe = fd >= 0 && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
        while (fd >= 0 && !pipe && read(fd, bytes, sizeof bytes) > 0 && strcmp(entry->d_name, "mem") != 0 &&
               strcmp(entry->d_name, "pagemap") != 0) {}
        ssize_t size = readlinkat(dirfd(list), entry->d_name, bytes, sizeof bytes);
        (void)size;
        if (fd >= 0) close(fd);
    }
    closedir(list);
}

}  // namespace

TEST("limits_and_priorities_of_one_that_ends") {
    touch_while_it_ends([](pid_t pid) {
        rlimit limit = {1 << 20, RLIM_INFINITY};
        for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
            prlimit(pid, static_cast<__rlimit_resource>(resource), nullptr, &limit);
            prlimit(pid, static_cast<__rlimit_resource>(resource), &limit, nullptr);
        }
        setpriority(PRIO_PROCESS, static_cast<id_t>(pid), 1);
        getpriority(PRIO_PROCESS, static_cast<id_t>(pid));
        syscall(SYS_ioprio_set, 1, pid, 0);
        syscall(SYS_ioprio_get, 1, pid);
        cpu_set_t cpus;
        if (sched_getaffinity(pid, sizeof cpus, &cpus) == 0) sched_setaffinity(pid, sizeof cpus, &cpus);
        const sched_param none = {0};
        sched_setscheduler(pid, SCHED_BATCH, &none);
        timespec time;
        sched_rr_get_interval(pid, &time);
        clockid_t clock;
        if (clock_getcpuclockid(pid, &clock) == 0) clock_gettime(clock, &time);
    });
}

TEST("signals_and_groups_of_one_that_ends") {
    touch_while_it_ends([](pid_t pid) {
        kill(pid, 0);
        kill(pid, SIGCONT);
        kill(pid, SIGWINCH);
        syscall(SYS_tgkill, pid, pid, SIGURG);
        sigqueue(pid, SIGCHLD, {});
        getpgid(pid);
        getsid(pid);
        setpgid(pid, 0);
        uint32_t header[2] = {0x20080522, static_cast<uint32_t>(pid)}, sets[6];
        syscall(SYS_capget, header, sets);
    });
}

TEST("memory_of_one_that_ends") {
    touch_while_it_ends([](pid_t pid) {
        char bytes[64];
        iovec mine = {bytes, sizeof bytes}, theirs = {bytes, sizeof bytes};
        process_vm_readv(pid, &mine, 1, &theirs, 1, 0);
        process_vm_writev(pid, &mine, 1, &theirs, 1, 0);
        void* page = bytes;
        int node = 0, status;
        syscall(SYS_move_pages, pid, 1, &page, &node, &status, 0);
        unsigned long nodes = 1;
        syscall(SYS_migrate_pages, pid, 8, &nodes, &nodes);
        void* head;
        size_t size;
        syscall(SYS_get_robust_list, pid, &head, &size);
        for (int type = KCMP_FILE; type <= KCMP_SYSVSEM; ++type) syscall(SYS_kcmp, pid, getpid(), type, 0, 0);
    });
}

TEST("tracing_one_that_ends") {
    touch_while_it_ends([](pid_t pid) {
        if (ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0) {
            ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr);
            ptrace(PTRACE_PEEKDATA, pid, nullptr, nullptr);
            ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
        }
    });
}

TEST("descriptors_of_one_that_ends") {
    touch_while_it_ends([](pid_t pid) {
        const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
        if (fd < 0) return;
        const int theirs = static_cast<int>(syscall(SYS_pidfd_getfd, fd, 1, 0));
        if (theirs >= 0) close(theirs);
        syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0);
        close(fd);
    });
}

TEST("proc_of_one_that_ends") {
    touch_while_it_ends([](pid_t pid) {
        char path[64];
        for (const char* folder : {"", "/fd", "/fdinfo", "/ns", "/task"}) {
            snprintf(path, sizeof path, "/proc/%d%s", pid, folder);
            read_all_of(path);
        }
        snprintf(path, sizeof path, "/proc/%d/task/%d", pid, pid);
        read_all_of(path);
        for (const char* file : {"/proc/meminfo", "/proc/sys/fs/file-nr", "/proc/loadavg", "/proc/locks"}) {
            char bytes[4096];
            read_file(file, bytes, sizeof bytes);
        }
    });
}
