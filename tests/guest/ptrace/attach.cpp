// ptrace: who may trace whom, group stops, the end of the tracer, and its relatives process_vm_* and kcmp.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>

#include "tests/guest/ptrace/tracee.hpp"

using namespace guest;

TEST("attach_stops_and_detach_goes_on") {
    pid_t pid = untraced([] {
        sleep_ms(300);
        _exit(21);
    });
    OK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    OK(ptrace(PTRACE_DETACH, pid, nullptr, nullptr));
    CHECK_EXITED(wait_status(pid), 21);
}

TEST("attach_restarts_an_interrupted_sleep") {
    pid_t pid = untraced([] {
        timespec time = {0, 300'000'000};
        _exit(nanosleep(&time, nullptr) == 0 ? 1 : 2);
    });
    sleep_ms(50);
    OK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("detach_with_a_signal") {
    pid_t pid = traced([] { pause(); });
    OK(ptrace(PTRACE_DETACH, pid, nullptr, static_cast<long>(SIGTERM)));
    CHECK_SIGNALED(wait_status(pid), SIGTERM);
}

TEST("attach_errors") {
    CHECK_ERRNO(ptrace(PTRACE_ATTACH, 999999, nullptr, nullptr), ESRCH);
    CHECK_ERRNO(ptrace(PTRACE_ATTACH, getpid(), nullptr, nullptr), EPERM);
    pid_t pid = traced([] {});
    CHECK_ERRNO(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), EPERM);
}

TEST("attach_needs_the_same_user") {
    pid_t pid = untraced([] { pause(); });
    CHECK_EXITED(run_child([=] {
                     OK(setgid(1000));
                     OK(setuid(1000));
                     CHECK_ERRNO(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), EPERM);
                     CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, nullptr), EPERM);
                 }),
                 0);
    OK(kill(pid, SIGKILL));
}

TEST("requests_need_a_stopped_tracee") {
    pid_t pid = traced([] { pause(); });
    cont(pid);
    CHECK_ERRNO(ptrace(PTRACE_PEEKDATA, pid, const_cast<long*>(&word), nullptr), ESRCH);
    CHECK_ERRNO(ptrace(PTRACE_CONT, pid, nullptr, nullptr), ESRCH);
    pid_t stranger = untraced([] { pause(); });
    CHECK_ERRNO(ptrace(PTRACE_CONT, stranger, nullptr, nullptr), ESRCH);
    OK(kill(pid, SIGKILL));
    OK(kill(stranger, SIGKILL));
}

TEST("bad_signal_or_option_is_refused") {
    pid_t pid = traced([] {});
    CHECK_ERRNO(ptrace(PTRACE_CONT, pid, nullptr, 65l), EIO);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, 0x8000l), EINVAL);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(0x7fff), pid, nullptr, nullptr), EIO);
}

TEST("seize_does_not_stop_and_interrupt_does") {
    pid_t pid = untraced([] { pause(); });
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, PTRACE_O_TRACESYSGOOD));
    sleep_ms(30);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG | __WALL), 0);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_INTERRUPT), pid, nullptr, nullptr));
    expect_event(wait_status(pid), PTRACE_EVENT_STOP);
    cont(pid);
    OK(kill(pid, SIGKILL));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("interrupt_of_an_attached_tracee_is_eio") {
    pid_t pid = traced([] { pause(); });
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_INTERRUPT), pid, nullptr, nullptr), EIO);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_LISTEN), pid, nullptr, nullptr), EIO);
}

TEST("seize_with_bad_arguments_is_eio") {
    pid_t pid = untraced([] { pause(); });
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, 1, nullptr), EIO);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, 0x8000l), EIO);
    OK(kill(pid, SIGKILL));
}

TEST("group_stop_of_an_attached_tracee") {
    pid_t pid = traced([] {
        raise(SIGTSTP);
        _exit(4);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTSTP);
    cont(pid, SIGSTOP);
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    siginfo_t info;
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info), EINVAL);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 4);
}

TEST("group_stop_of_a_seized_tracee_and_listen") {
    pid_t pid = untraced([] {
        for (;;) pause();
    });
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, nullptr));
    OK(kill(pid, SIGSTOP));
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    cont(pid, SIGSTOP);
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP | PTRACE_EVENT_STOP << 8);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_LISTEN), pid, nullptr, nullptr));
    sleep_ms(30);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG | __WALL), 0);
    OK(kill(pid, SIGCONT));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGCONT);
    OK(kill(pid, SIGKILL));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("seized_fork_child_starts_with_event_stop") {
    pid_t pid = untraced([] {
        sleep_ms(100);
        if (fork() == 0) _exit(0);
        pause();
    });
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE));
    int status = wait_status(pid);
    CHECK(status >> 16 == PTRACE_EVENT_FORK || status >> 16 == PTRACE_EVENT_CLONE);
    pid_t child = static_cast<pid_t>(message(pid));
    CHECK_EQ(wait_status(child) >> 16, PTRACE_EVENT_STOP);
    cont(child);
    CHECK_EXITED(wait_status(child), 0);
    OK(kill(pid, SIGKILL));
}

// The same for execve(2): a tracer that resumes an event with PTRACE_SYSCALL waits for the end of the call around it.
TEST("call_that_began_before_the_tracer_came_ends_with_a_stop") {
    int began[2], go[2];
    OK(pipe(began));
    OK(pipe(go));
    const pid_t pid = untraced([=] {
        sigset_t blocked;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGCHLD);  // no stop for it
        OK(sigprocmask(SIG_BLOCK, &blocked, nullptr));
        char byte = 0;
        if (vfork() == 0) _exit(write(began[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1 ? 0 : 1);
        _exit(7);
    });
    char byte = 0;
    CHECK_EQ(read(began[0], &byte, 1), 1);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr,
              PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEVFORKDONE));
    CHECK_EQ(write(go[1], &byte, 1), 1);
    expect_event(wait_status(pid), PTRACE_EVENT_VFORK_DONE);
    to_syscall(pid);
    expect_syscall_stop(pid);
    CHECK_GT(static_cast<long>(registers(pid).rax), 0);  // the child's number: the end of vfork, not a call that begins
    to_syscall(pid);
    expect_syscall_stop(pid);
    CHECK_EQ(static_cast<long>(registers(pid).rax), -ENOSYS);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 7);
}

TEST("exitkill_when_the_tracer_ends") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([=] {
                     pid_t pid = traced([=] {
                         close(fds[0]);
                         pause();
                     });
                     cont(pid);
                 }),
                 0);
    close(fds[1]);
    char byte;
    CHECK_EQ(read(fds[0], &byte, 1), 0);  // the tracee is gone
}

TEST("tracee_goes_on_when_the_tracer_ends") {
    int fds[2];
    OK(pipe(fds));
    pid_t pid = untraced([=] {
        char byte;
        while (read(fds[0], &byte, 1) != 1) {}
        _exit(31);
    });
    CHECK_EXITED(run_child([=] {
                     OK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
                     int status;
                     CHECK_EQ(waitpid(pid, &status, __WALL), pid);
                     cont(pid);
                 }),
                 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EXITED(wait_status(pid), 31);
}

TEST("waitid_reports_trapped") {
    pid_t pid = traced([] { raise(SIGUSR1); });
    cont(pid);
    siginfo_t info = {};
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WEXITED | WNOWAIT));
    CHECK_EQ(info.si_code, CLD_TRAPPED);
    CHECK_EQ(info.si_status, SIGUSR1);
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WEXITED));
    CHECK_EQ(info.si_pid, pid);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
}

TEST("tracer_pid_and_state_in_proc") {
    pid_t pid = traced([] {});
    char path[64], text[4096], want[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    CHECK_GT(read_file(path, text, sizeof text), 0);
    snprintf(want, sizeof want, "TracerPid:\t%d\n", getpid());
    CHECK(strstr(text, want));
    CHECK(strstr(text, "State:\tt (tracing stop)"));
}

TEST("sigmask_is_read_and_written") {
    pid_t pid = traced([] {
        raise(SIGUSR1);
        _exit(2);
    });
    uint64_t mask = 0;
    OK(ptrace(static_cast<__ptrace_request>(0x420a), pid, 8, &mask));
    mask |= 1ull << (SIGUSR1 - 1);
    OK(ptrace(static_cast<__ptrace_request>(0x420b), pid, 8, &mask));
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(0x420a), pid, 4, &mask), EINVAL);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 2);
}

TEST("process_vm_readv_and_writev") {
    pid_t pid = traced([] { _exit(word == 5 ? 1 : 2); });
    long mine = 0;
    iovec local = {&mine, sizeof mine}, remote = {const_cast<long*>(&word), sizeof word};
    CHECK_EQ(process_vm_readv(pid, &local, 1, &remote, 1, 0), 8);
    CHECK_EQ(mine, 0x1122334455667788);
    mine = 5;
    CHECK_EQ(process_vm_writev(pid, &local, 1, &remote, 1, 0), 8);
    remote.iov_base = reinterpret_cast<void*>(8);
    CHECK_ERRNO(process_vm_readv(pid, &local, 1, &remote, 1, 0), EFAULT);
    CHECK_ERRNO(process_vm_readv(pid, &local, 1, &remote, 1, 1), EINVAL);
    CHECK_ERRNO(process_vm_readv(999999, &local, 1, &remote, 1, 0), ESRCH);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("kcmp_of_files_and_memory") {
    int fd = OK(open("/", O_RDONLY)), same = OK(dup(fd)), other = OK(open("/", O_RDONLY));
    pid_t self = getpid();
    long result = syscall(SYS_kcmp, self, self, 0, fd, same);
    if (result == -1 && errno == ENOSYS) SKIP("the kernel has no kcmp");
    CHECK_EQ(result, 0);
    CHECK_NE(syscall(SYS_kcmp, self, self, 0, fd, other), 0);
    CHECK_ERRNO(syscall(SYS_kcmp, self, self, 0, fd, 999), EBADF);
    CHECK_ERRNO(syscall(SYS_kcmp, self, self, 99, 0, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_kcmp, 999999, self, 1, 0, 0), ESRCH);
    pid_t pid = untraced([] { pause(); });
    CHECK_GT(syscall(SYS_kcmp, self, pid, 1, 0, 0), 0);
    OK(kill(pid, SIGKILL));
}
