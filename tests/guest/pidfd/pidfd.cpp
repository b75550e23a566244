// pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), CLONE_PIDFD, waitid(P_PIDFD), poll on process descriptors.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr unsigned kThreadFlag = O_EXCL;  // PIDFD_THREAD
constexpr auto kByDescriptor = static_cast<idtype_t>(3);

int pidfd_open(pid_t pid, unsigned flags) { return static_cast<int>(syscall(434, pid, flags)); }
int pidfd_send(int fd, int signal, void* info = nullptr, unsigned flags = 0) {
    return static_cast<int>(syscall(424, fd, signal, info, flags));
}
int pidfd_getfd(int fd, int theirs, unsigned flags = 0) { return static_cast<int>(syscall(438, fd, theirs, flags)); }

pid_t sleeper() {
    const pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) pause();
    return pid;
}

short polled(int fd, int timeout) {
    pollfd one{fd, POLLIN, 0};
    return OK(poll(&one, 1, timeout)) ? one.revents : 0;
}

void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}

struct CloneArgs {
    uint64_t flags = 0, pidfd = 0, child_tid = 0, parent_tid = 0, exit_signal = SIGCHLD, stack = 0, stack_size = 0,
             tls = 0, set_tid = 0, set_tid_size = 0, cgroup = 0;
};
long clone3(CloneArgs& args, size_t size = sizeof(CloneArgs)) { return syscall(SYS_clone3, &args, size); }

}  // namespace

TEST("open_checks_flags_and_pid") {
    CHECK_ERRNO(pidfd_open(getpid(), 1), EINVAL);
    CHECK_ERRNO(pidfd_open(0, 0), EINVAL);
    CHECK_ERRNO(pidfd_open(-1, 0), EINVAL);
    CHECK_ERRNO(pidfd_open(4000000, 0), ESRCH);
}

TEST("open_of_reaped_process_is_esrch") {
    const pid_t pid = OK(fork());
    if (pid == 0) _exit(0);
    OK(waitpid(pid, nullptr, 0));
    CHECK_ERRNO(pidfd_open(pid, 0), ESRCH);
}

TEST("descriptor_closes_on_exec") {
    const int fd = OK(pidfd_open(getpid(), 0));
    CHECK_EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
}

TEST("nonblock_shows_in_flags") {
    const int fd = OK(pidfd_open(getpid(), O_NONBLOCK));
    CHECK(OK(fcntl(fd, F_GETFL)) & O_NONBLOCK);
}

TEST("link_names_pidfd") {
    const int fd = OK(pidfd_open(getpid(), 0));
    char path[64], target[64] = {};
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    OK(readlink(path, target, sizeof target - 1));
    CHECK_STREQ(target, "anon_inode:[pidfd]");
}

TEST("read_and_write_are_einval") {
    const int fd = OK(pidfd_open(getpid(), 0));
    char byte = 0;
    CHECK_ERRNO(read(fd, &byte, 1), EINVAL);
    CHECK_ERRNO(write(fd, &byte, 1), EINVAL);
}

TEST("fdinfo_tells_pid_and_then_minus_one") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, 0));
    char path[64], text[512], expected[32];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    snprintf(expected, sizeof expected, "\nPid:\t%d\n", pid);
    CHECK_GT(read_file(path, text, sizeof text), 0);
    CHECK(strstr(text, expected));
    end(pid);
    CHECK_GT(read_file(path, text, sizeof text), 0);
    CHECK(strstr(text, "\nPid:\t-1\n"));
}

TEST("poll_becomes_readable_when_process_ends") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, 0));
    CHECK_EQ(polled(fd, 0), 0);
    OK(kill(pid, SIGKILL));
    CHECK_EQ(polled(fd, 5000), POLLIN);
    OK(waitpid(pid, nullptr, 0));
}

TEST("poll_hangs_up_once_reaped") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, 0));
    end(pid);
    CHECK_EQ(polled(fd, 0), POLLIN | POLLHUP);
}

TEST("epoll_reports_the_end_to_another_process_too") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, 0));
    const int set = OK(epoll_create1(0));
    epoll_event event{EPOLLIN, {}};
    OK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    const pid_t killer = OK(fork());
    if (killer == 0) {
        sleep_ms(30);
        kill(pid, SIGTERM);
        _exit(0);
    }
    CHECK_EQ(epoll_wait(set, &event, 1, 5000), 1);
    CHECK(event.events & EPOLLIN);
    OK(waitpid(pid, nullptr, 0));
    OK(waitpid(killer, nullptr, 0));
}

TEST("process_with_living_thread_is_not_ended") {
    const pid_t pid = OK(fork());
    if (pid == 0) {
        pthread_t thread;
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                sleep_ms(150);
                _exit(0);
            },
            nullptr);
        syscall(SYS_exit, 0);
    }
    const int fd = OK(pidfd_open(pid, 0));
    sleep_ms(40);
    CHECK_EQ(polled(fd, 0), 0);
    CHECK_EQ(polled(fd, 5000), POLLIN);
    OK(waitpid(pid, nullptr, 0));
}

TEST("send_signal_kills") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, 0));
    OK(pidfd_send(fd, SIGKILL));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_SIGNALED(status, SIGKILL);
}

TEST("send_signal_zero_asks_only") {
    const int fd = OK(pidfd_open(getpid(), 0));
    OK(pidfd_send(fd, 0));
}

TEST("send_signal_errors") {
    const int fd = OK(pidfd_open(getpid(), 0));
    CHECK_ERRNO(pidfd_send(fd, 65), EINVAL);
    CHECK_ERRNO(pidfd_send(fd, SIGUSR1, nullptr, 8), EINVAL);
    CHECK_ERRNO(pidfd_send(fd, SIGUSR1, nullptr, 3), EINVAL);
    CHECK_ERRNO(pidfd_send(-1, SIGUSR1), EBADF);
    CHECK_ERRNO(pidfd_send(0, SIGUSR1), EBADF);
    CHECK_ERRNO(pidfd_send(fd, SIGUSR1, reinterpret_cast<void*>(8)), EFAULT);
}

TEST("send_signal_to_zombie_succeeds_and_to_reaped_is_esrch") {
    const pid_t pid = OK(fork());
    if (pid == 0) _exit(0);
    const int fd = OK(pidfd_open(pid, 0));
    CHECK_EQ(polled(fd, 5000), POLLIN);
    OK(pidfd_send(fd, SIGTERM));
    OK(waitpid(pid, nullptr, 0));
    CHECK_ERRNO(pidfd_send(fd, SIGTERM), ESRCH);
}

TEST("send_signal_carries_info") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    const int fd = OK(pidfd_open(getpid(), 0));
    siginfo_t info{};
    info.si_signo = SIGUSR1;
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = 77;
    OK(pidfd_send(fd, SIGUSR1, &info));
    siginfo_t got;
    CHECK_EQ(sigwaitinfo(&set, &got), SIGUSR1);
    CHECK_EQ(got.si_code, SI_QUEUE);
    CHECK_EQ(got.si_value.sival_int, 77);
    info.si_signo = SIGUSR2;
    CHECK_ERRNO(pidfd_send(fd, SIGUSR1, &info), EINVAL);
}

TEST("send_signal_refuses_forged_info_to_others") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, 0));
    siginfo_t info{};
    info.si_signo = SIGUSR1;
    info.si_code = SI_USER;
    CHECK_ERRNO(pidfd_send(fd, SIGUSR1, &info), EPERM);
    end(pid);
}

TEST("send_signal_to_process_group") {
    const pid_t pid = OK(fork());
    if (pid == 0) {
        setpgid(0, 0);
        if (fork() == 0)
            for (;;) pause();
        for (;;) pause();
    }
    sleep_ms(50);
    const int fd = OK(pidfd_open(pid, 0));
    OK(pidfd_send(fd, SIGTERM, nullptr, 4));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_SIGNALED(status, SIGTERM);
}

TEST("waitid_takes_descriptor") {
    const pid_t pid = OK(fork());
    if (pid == 0) _exit(5);
    const int fd = OK(pidfd_open(pid, 0));
    siginfo_t info{};
    OK(waitid(kByDescriptor, static_cast<id_t>(fd), &info, WEXITED));
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_status, 5);
    CHECK_ERRNO(waitid(kByDescriptor, static_cast<id_t>(fd), &info, WEXITED), ECHILD);
}

TEST("waitid_errors") {
    siginfo_t info;
    CHECK_ERRNO(waitid(kByDescriptor, static_cast<id_t>(-1), &info, WEXITED), EINVAL);
    CHECK_ERRNO(waitid(kByDescriptor, 900, &info, WEXITED), EBADF);
    CHECK_ERRNO(waitid(kByDescriptor, 0, &info, WEXITED), EBADF);
    const int self = OK(pidfd_open(getpid(), 0));
    CHECK_ERRNO(waitid(kByDescriptor, static_cast<id_t>(self), &info, WEXITED), ECHILD);
}

TEST("waitid_on_nonblocking_descriptor_is_eagain") {
    const pid_t pid = sleeper();
    const int fd = OK(pidfd_open(pid, O_NONBLOCK));
    siginfo_t info{};
    CHECK_ERRNO(waitid(kByDescriptor, static_cast<id_t>(fd), &info, WEXITED), EAGAIN);
    OK(waitid(kByDescriptor, static_cast<id_t>(fd), &info, WEXITED | WNOHANG));
    CHECK_EQ(info.si_pid, 0);
    end(pid);
}

TEST("getfd_copies_descriptor") {
    int fds[2], ready[2];
    OK(pipe(ready));
    const pid_t pid = OK(fork());
    if (pid == 0) {
        int own[2];
        if (pipe(own)) _exit(1);
        dup2(own[0], 100);
        if (write(own[1], "hi", 2) != 2 || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    char text[4] = {};
    CHECK_EQ(read(ready[0], text, 1), 1);
    const int process = OK(pidfd_open(pid, 0));
    fds[0] = OK(pidfd_getfd(process, 100));
    CHECK_EQ(OK(fcntl(fds[0], F_GETFD)), FD_CLOEXEC);
    CHECK_EQ(read(fds[0], text, 2), 2);
    CHECK_STREQ(text, "hi");
    CHECK_ERRNO(pidfd_getfd(process, 999), EBADF);
    CHECK_ERRNO(pidfd_getfd(process, 100, 1), EINVAL);
    CHECK_ERRNO(pidfd_getfd(0, 100), EBADF);
    end(pid);
    CHECK_ERRNO(pidfd_getfd(process, 0), ESRCH);
}

TEST("getfd_of_another_user_is_eperm") {
    const pid_t pid = sleeper();
    CHECK_EXITED(run_child([&] {
                     const int process = OK(pidfd_open(pid, 0));
                     OK(setuid(1234));
                     CHECK_ERRNO(pidfd_getfd(process, 0), EPERM);
                     CHECK_ERRNO(pidfd_send(process, SIGTERM), EPERM);
                 }),
                 0);
    end(pid);
}

TEST("clone_gives_descriptor") {
    int fd = -1;
    const long pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, nullptr, &fd, nullptr, 0);
    if (pid == 0) _exit(9);
    CHECK_GT(pid, 0);
    siginfo_t info{};
    OK(waitid(kByDescriptor, static_cast<id_t>(fd), &info, WEXITED));
    CHECK_EQ(info.si_status, 9);
    CHECK_EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
}

TEST("clone_refuses_descriptor_with_parent_settid") {
    int fd = -1;
    CHECK_ERRNO(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, nullptr, &fd, nullptr, 0), EINVAL);
}

TEST("clone_with_bad_descriptor_address_makes_nothing") {
    const int before = OK(dup(0));
    close(before);
    CHECK_ERRNO(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, nullptr, 8, nullptr, 0), EFAULT);
    CHECK_ERRNO(waitpid(-1, nullptr, 0), ECHILD);
    CHECK_EQ(OK(dup(0)), before);
}

TEST("clone3_gives_descriptor_and_tid") {
    int fd = -1, tid = 0;
    CloneArgs args;
    args.flags = CLONE_PIDFD | CLONE_PARENT_SETTID;
    args.pidfd = reinterpret_cast<uint64_t>(&fd);
    args.parent_tid = reinterpret_cast<uint64_t>(&tid);
    const long pid = OK(clone3(args));
    if (pid == 0) _exit(3);
    CHECK_EQ(tid, pid);
    siginfo_t info{};
    OK(waitid(kByDescriptor, static_cast<id_t>(fd), &info, WEXITED));
    CHECK_EQ(info.si_pid, pid);
}

TEST("clone3_refuses_one_word_for_both") {
    int word = 0;
    CloneArgs args;
    args.flags = CLONE_PIDFD | CLONE_PARENT_SETTID;
    args.pidfd = args.parent_tid = reinterpret_cast<uint64_t>(&word);
    CHECK_ERRNO(clone3(args), EINVAL);
}

TEST("clone3_set_tid_rules") {
    CloneArgs args;
    int tid = 0;
    args.set_tid_size = 1;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.set_tid = reinterpret_cast<uint64_t>(&tid);
    CHECK_ERRNO(clone3(args), EINVAL);  // number 0
    args.set_tid_size = 33;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.set_tid_size = 0;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.set_tid_size = 1;
    args.set_tid = 8;
    CHECK_ERRNO(clone3(args), EFAULT);
}

TEST("clone3_set_tid_without_right_is_eperm") {
    CHECK_EXITED(run_child([] {
                     OK(setuid(1234));
                     int tid = 31234;
                     CloneArgs args;
                     args.set_tid = reinterpret_cast<uint64_t>(&tid);
                     args.set_tid_size = 1;
                     CHECK_ERRNO(clone3(args), EPERM);
                 }),
                 0);
}

TEST("clone3_argument_checks") {
    CloneArgs args;
    CHECK_ERRNO(clone3(args, 63), EINVAL);
    CHECK_ERRNO(clone3(args, 5000), E2BIG);
    args.exit_signal = 65;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.exit_signal = SIGCHLD;
    args.flags = CLONE_PARENT;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.flags = 1ULL << 40;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.flags = SIGCHLD;
    CHECK_ERRNO(clone3(args), EINVAL);
    args.flags = 0;
    args.stack_size = 4096;
    CHECK_ERRNO(clone3(args), EINVAL);
}

TEST("clone3_into_cgroup_of_bad_descriptor_is_ebadf") {
    CloneArgs args;
    args.flags = 0x200000000;
    args.cgroup = 999;
    CHECK_ERRNO(clone3(args), EBADF);
    args.cgroup = 0x100000000;
    CHECK_ERRNO(clone3(args), EINVAL);
}

TEST("clone3_clear_sighand_resets_handlers_and_keeps_ignored") {
    signal(SIGUSR1, [](int) {});
    signal(SIGUSR2, SIG_IGN);
    CloneArgs args;
    args.flags = 0x100000000;
    const long pid = OK(clone3(args));
    if (pid == 0) {
        struct sigaction one, two;
        sigaction(SIGUSR1, nullptr, &one);
        sigaction(SIGUSR2, nullptr, &two);
        _exit(one.sa_handler == SIG_DFL && two.sa_handler == SIG_IGN ? 0 : 1);
    }
    int status;
    OK(waitpid(static_cast<pid_t>(pid), &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("clone_parent_makes_a_sibling") {
    CHECK_EXITED(run_child([] {
                     const pid_t middle = OK(fork());
                     if (middle == 0) {
                         syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, 0);
                         _exit(7);
                     }
                     for (int i = 0; i < 2; ++i) {
                         int status;
                         OK(wait(&status));
                         CHECK_EXITED(status, 7);
                     }
                 }),
                 0);
}

TEST("thread_descriptor_needs_its_flag") {
    static std::atomic<int> tid{0};
    static std::atomic<bool> stop{false};
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     tid = static_cast<int>(syscall(SYS_gettid));
                     while (!stop) sleep_ms(5);
                     return nullptr;
                 },
                 nullptr),
             0);
    while (!tid) sleep_ms(1);
    CHECK_ERRNO(pidfd_open(tid, 0), ENOENT);
    const int fd = OK(pidfd_open(tid, kThreadFlag));
    CHECK_EQ(polled(fd, 0), 0);
    stop = true;
    CHECK(polled(fd, 5000) & POLLIN);
    pthread_join(thread, nullptr);
    CHECK_ERRNO(pidfd_send(fd, 0), ESRCH);
}

TEST("send_signal_by_proc_directory") {
    pid_t pid = OK(fork());
    if (pid == 0) {
        pause();
        _exit(0);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", pid);
    const int directory = OK(open(path, O_DIRECTORY | O_RDONLY));
    OK(syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 0));
    OK(syscall(SYS_pidfd_send_signal, directory, SIGTERM, nullptr, 0));
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_SIGNALED(status, SIGTERM);
    CHECK_ERRNO(syscall(SYS_pidfd_send_signal, directory, SIGTERM, nullptr, 0), ESRCH);
    OK(close(directory));
    const int other = OK(open("/proc/self/task", O_DIRECTORY | O_RDONLY));
    CHECK_ERRNO(syscall(SYS_pidfd_send_signal, other, 0, nullptr, 0), EBADF);
    OK(close(other));
}
