// fork, vfork, exit codes, wait4 and waitid.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

TEST("fork_returns_child_pid") {
    int fds[2];
    OK(pipe(fds));
    pid_t pid = OK(fork());
    if (pid == 0) {
        pid_t own = getpid();
        _exit(write(fds[1], &own, sizeof(own)) == sizeof(own) ? 0 : 1);
    }
    pid_t seen = 0;
    CHECK_EQ(read(fds[0], &seen, sizeof(seen)), sizeof(seen));
    CHECK_EQ(seen, pid);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 0);
}

TEST("getppid_in_child") {
    pid_t self = getpid();
    CHECK_EXITED(run_child([&] { CHECK_EQ(getppid(), self); }), 0);
}

TEST("exit_code_low_byte") {
    CHECK_EXITED(run_child([] { _exit(7); }), 7);
    CHECK_EXITED(run_child([] { _exit(255); }), 255);
    CHECK_EXITED(run_child([] { _exit(256); }), 0);
    CHECK_EXITED(run_child([] { _exit(-1); }), 255);
}

TEST("exit_by_signal") {
    for (int signo : {SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGUSR1, SIGRTMIN}) {
        int status = run_child([&] {
            rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            kill(getpid(), signo);
            sleep_ms(5000);
        });
        CHECK_SIGNALED(status, signo);
    }
}

TEST("exit_group_ends_threads_of_loop") {
    CHECK_EXITED(run_child([] { syscall(SYS_exit_group, 3); }), 3);
}

TEST("exit_syscall_of_single_thread_ends_process") {
    CHECK_EXITED(run_child([] { syscall(SYS_exit, 4); }), 4);
}

TEST("fork_copies_memory") {
    static int value = 1;
    int local = 1;
    auto* heap = new int(1);
    CHECK_EXITED(run_child([&] { value = local = *heap = 2; }), 0);
    CHECK_EQ(value, 1);
    CHECK_EQ(local, 1);
    CHECK_EQ(*heap, 1);
}

TEST("fork_child_sees_parents_memory") {
    static char block[100000];
    memset(block, 0x5a, sizeof(block));
    CHECK_EXITED(run_child([] {
                     for (char byte : block) CHECK_EQ(byte, 0x5a);
                 }),
                 0);
}

TEST("parent_write_after_fork_unseen_by_child") {
    static volatile int value = 1;
    int go[2];
    OK(pipe(go));
    pid_t pid = OK(fork());
    if (pid == 0) {
        char byte;
        CHECK_EQ(read(go[0], &byte, 1), 1);
        CHECK_EQ(value, 1);
        _exit(0);
    }
    value = 2;
    CHECK_EQ(write(go[1], "x", 1), 1);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("fork_shares_file_offset") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    CHECK_EQ(write(fd, "abcdef", 6), 6);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EXITED(run_child([&] {
                     char two[2];
                     CHECK_EQ(read(fd, two, 2), 2);
                 }),
                 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 2);
}

TEST("fork_descriptor_table_is_copied") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([&] { OK(close(fds[0])); }), 0);
    CHECK_EQ(fcntl(fds[0], F_GETFD), 0);
}

TEST("fork_deep_chain") {
    // Each generation forks the next and passes on its exit code plus one.
    struct Chain {
        static int run(int depth) {
            if (depth == 0) return 0;
            int status = run_child([&] { _exit(run(depth - 1)); });
            CHECK(WIFEXITED(status));
            return WEXITSTATUS(status) + 1;
        }
    };
    CHECK_EQ(Chain::run(12), 12);
}

TEST("fork_many_children_at_once") {
    constexpr int kChildren = 40;
    pid_t pids[kChildren];
    for (int i = 0; i < kChildren; i++) {
        pids[i] = OK(fork());
        if (pids[i] == 0) _exit(i);
    }
    for (int i = kChildren - 1; i >= 0; i--) {
        int status;
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        CHECK_EXITED(status, i);
    }
}

TEST("fork_wait_many_times") {
    for (int i = 0; i < 100; i++) CHECK_EXITED(run_child([&] { _exit(i); }), i);
}

TEST("vfork_shares_memory_and_suspends_parent") {
    static volatile int value = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        value = 5;
        _exit(9);
    }
    CHECK_EQ(value, 5);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 9);
}

TEST("wait_without_children_is_echild") {
    int status;
    CHECK_ERRNO(wait(&status), ECHILD);
    CHECK_ERRNO(waitpid(-1, &status, WNOHANG), ECHILD);
    CHECK_ERRNO(waitpid(getpid(), &status, 0), ECHILD);
    siginfo_t info;
    CHECK_ERRNO(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
}

TEST("wait_for_foreign_process_is_echild") {
    int status;
    CHECK_ERRNO(waitpid(getppid(), &status, 0), ECHILD);
}

TEST("wait_invalid_options") {
    int status;
    CHECK_ERRNO(waitpid(-1, &status, 0x1000), EINVAL);
    siginfo_t info;
    CHECK_ERRNO(waitid(P_ALL, 0, &info, 0), EINVAL);
    CHECK_ERRNO(waitid(static_cast<idtype_t>(77), 0, &info, WEXITED), EINVAL);
}

TEST("wait_wnohang_with_running_child") {
    int go[2];
    OK(pipe(go));
    pid_t pid = OK(fork());
    if (pid == 0) {
        char byte;
        close(go[1]);
        _exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    close(go[1]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 0);
}

TEST("wait_any_returns_every_child_once") {
    bool seen[10] = {};
    pid_t pids[10];
    for (auto& pid : pids) {
        pid = OK(fork());
        if (pid == 0) _exit(0);
    }
    for (int i = 0; i < 10; i++) {
        pid_t pid = OK(wait(nullptr));
        for (int j = 0; j < 10; j++)
            if (pids[j] == pid) {
                CHECK(!seen[j]);
                seen[j] = true;
            }
    }
    for (bool one : seen) CHECK(one);
    CHECK_ERRNO(wait(nullptr), ECHILD);
}

TEST("wait_by_process_group") {
    pid_t pid = OK(fork());
    if (pid == 0) {
        setpgid(0, 0);
        _exit(3);
    }
    setpgid(pid, pid);
    int status;
    CHECK_ERRNO(waitpid(0, &status, 0), ECHILD);
    CHECK_EQ(waitpid(-pid, &status, 0), pid);
    CHECK_EXITED(status, 3);
}

TEST("wait_same_group") {
    pid_t pid = OK(fork());
    if (pid == 0) _exit(2);
    int status;
    CHECK_EQ(waitpid(0, &status, 0), pid);
    CHECK_EXITED(status, 2);
}

TEST("wait_stopped_and_continued") {
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) sleep_ms(1000);
    int status;
    OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WNOHANG | WUNTRACED), 0);
    OK(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
    CHECK(WIFCONTINUED(status));
    OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_SIGNALED(status, SIGKILL);
}

TEST("stopped_process_dies_of_sigkill") {
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) sleep_ms(1000);
    int status;
    OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_SIGNALED(status, SIGKILL);
}

TEST("waitid_fills_siginfo") {
    pid_t pid = OK(fork());
    if (pid == 0) _exit(21);
    siginfo_t info = {};
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED));
    CHECK_EQ(info.si_signo, SIGCHLD);
    CHECK_EQ(info.si_code, CLD_EXITED);
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_uid, getuid());
    CHECK_EQ(info.si_status, 21);
}

TEST("waitid_killed_child") {
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) sleep_ms(1000);
    OK(kill(pid, SIGTERM));
    siginfo_t info = {};
    OK(waitid(P_ALL, 0, &info, WEXITED));
    CHECK_EQ(info.si_code, CLD_KILLED);
    CHECK_EQ(info.si_status, SIGTERM);
}

TEST("waitid_wnowait_leaves_zombie") {
    pid_t pid = OK(fork());
    if (pid == 0) _exit(5);
    siginfo_t info = {};
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT));
    CHECK_EQ(info.si_status, 5);
    CHECK_EQ(kill(pid, 0), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 5);
    CHECK_ERRNO(kill(pid, 0), ESRCH);
}

TEST("waitid_wnohang_none_ready") {
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) sleep_ms(1000);
    siginfo_t info;
    memset(&info, 0xff, sizeof(info));
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG));
    CHECK_EQ(info.si_pid, 0);
    CHECK_EQ(info.si_signo, 0);
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
}

TEST("wait4_gives_rusage") {
    pid_t pid = OK(fork());
    if (pid == 0) {
        burn_ms(30);
        _exit(0);
    }
    rusage usage;
    memset(&usage, 0, sizeof(usage));
    int status;
    CHECK_EQ(wait4(pid, &status, 0, &usage), pid);
    CHECK_GT(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
                 usage.ru_stime.tv_usec,
             1000);
}

TEST("wait_null_status") {
    pid_t pid = OK(fork());
    if (pid == 0) _exit(5);
    CHECK_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST("wait_bad_status_pointer_is_efault") {
    pid_t pid = OK(fork());
    if (pid == 0) _exit(5);
    CHECK_ERRNO(syscall(SYS_wait4, pid, 8, 0, nullptr), EFAULT);
}

TEST("zombie_is_signalable_until_reaped") {
    pid_t pid = OK(fork());
    if (pid == 0) _exit(0);
    siginfo_t info;
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT));
    CHECK_EQ(kill(pid, SIGKILL), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 0);
}

TEST("sigchld_ignored_reaps_by_itself") {
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = OK(fork());
    if (pid == 0) _exit(0);
    CHECK_ERRNO(waitpid(pid, nullptr, 0), ECHILD);
    for (int i = 0; i < 1000 && kill(pid, 0) == 0; i++) sleep_ms(1);
    CHECK_ERRNO(kill(pid, 0), ESRCH);
}

TEST("orphan_is_adopted") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([&] {
                     pid_t parent = getpid();
                     if (fork() == 0) {
                         while (getppid() == parent) sleep_ms(1);
                         pid_t adopted_by = getppid();
                         _exit(write(fds[1], &adopted_by, sizeof(adopted_by)) > 0 ? 0 : 1);
                     }
                 }),
                 0);
    pid_t adopted_by = 0;
    CHECK_EQ(read(fds[0], &adopted_by, sizeof(adopted_by)), sizeof(adopted_by));
    CHECK_NE(adopted_by, getpid());
}

TEST("getpid_gettid_of_single_thread") {
    CHECK_EQ(getpid(), syscall(SYS_gettid));
    CHECK_GT(getpid(), 1);
}

TEST("pids_are_not_reused_at_once") {
    pid_t last = 0;
    for (int i = 0; i < 5; i++) {
        pid_t pid = OK(fork());
        if (pid == 0) _exit(0);
        CHECK_NE(pid, last);
        last = pid;
        OK(waitpid(pid, nullptr, 0));
    }
}
