// ptrace: what a tracee reports of its forks, execs, filters and end.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <cstddef>

#include "tests/guest/ptrace/tracee.hpp"

using namespace guest;

namespace {
// From here on getppid(2) asks the tracer, with 77 as the message; getpgrp(2) is ENOENT.
void trace_getppid_by_filter() {
    sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 77),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOENT),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    sock_fprog program{static_cast<unsigned short>(sizeof code / sizeof code[0]), code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}
}  // namespace

TEST("fork_event") {
    pid_t pid = traced([] {
        pid_t child = syscall(SYS_fork);
        if (child == 0) _exit(11);
        int status;
        waitpid(child, &status, 0);
        _exit(WEXITSTATUS(status) + 1);
    });
    set_options(pid, PTRACE_O_TRACEFORK);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_FORK);
    const pid_t child = static_cast<pid_t>(message(pid));
    CHECK_EQ(wait_status(child) >> 8, SIGSTOP);
    cont(child);
    cont(pid);
    CHECK_EXITED(wait_status(child), 11);
    int status = wait_status(pid);
    if (WIFSTOPPED(status)) {
        CHECK_EQ(WSTOPSIG(status), SIGCHLD);
        cont(pid);
        status = wait_status(pid);
    }
    CHECK_EXITED(status, 12);
}

TEST("vfork_events") {
    pid_t pid = traced([] {
        if (vfork() == 0) _exit(0);
        _exit(5);
    });
    set_options(pid, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_VFORK);
    const pid_t child = static_cast<pid_t>(message(pid));
    cont(pid);
    CHECK_EQ(wait_status(child) >> 8, SIGSTOP);
    OK(ptrace(PTRACE_DETACH, child, nullptr, nullptr));
    int status = wait_status(pid);
    if (WIFSTOPPED(status) && status >> 8 == SIGCHLD) {
        cont(pid);
        status = wait_status(pid);
    }
    expect_event(status, PTRACE_EVENT_VFORK_DONE);
    CHECK_EQ(message(pid), child);
}

TEST("clone_event_of_a_thread") {
    pid_t pid = traced([] {
        pthread_t thread;
        pthread_create(
            &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
        pthread_join(thread, nullptr);
        _exit(6);
    });
    set_options(pid, PTRACE_O_TRACECLONE);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_CLONE);
    const pid_t thread = static_cast<pid_t>(message(pid));
    CHECK_EQ(wait_status(thread) >> 8, SIGSTOP);
    cont(thread);
    cont(pid);
    CHECK(WIFEXITED(wait_status(thread)));  // with 6 where exit_group(2) came first
    CHECK_EXITED(wait_status(pid), 6);
}

TEST("exec_event") {
    pid_t pid = traced([] {
        execl("/bin/helper_static", "helper_static", nullptr);
        _exit(77);
    });
    set_options(pid, PTRACE_O_TRACEEXEC);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_EXEC);
    CHECK_EQ(message(pid), pid);
    CHECK_EQ(registers(pid).orig_rax, SYS_execve);
    OK(ptrace(PTRACE_KILL, pid, nullptr, nullptr));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("exec_without_option_is_sigtrap") {
    pid_t pid = traced([] {
        execl("/bin/helper_static", "helper_static", nullptr);
        _exit(77);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_code, SI_USER);
    OK(kill(pid, SIGKILL));
    wait_status(pid);
}

TEST("seccomp_event_and_call_goes_on") {
    const pid_t parent = getpid();
    pid_t pid = traced([parent] {
        trace_getppid_by_filter();
        _exit(syscall(SYS_getppid) == parent ? 0 : 1);
    });
    set_options(pid, PTRACE_O_TRACESECCOMP);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_SECCOMP);
    CHECK_EQ(message(pid), 77);
    const user_regs_struct regs = registers(pid);
    CHECK_EQ(regs.orig_rax, SYS_getppid);
    CHECK_EQ(static_cast<long>(regs.rax), -ENOSYS);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("seccomp_event_can_skip_and_change_the_call") {
    pid_t pid = traced([] {
        trace_getppid_by_filter();
        if (syscall(SYS_getppid) != 4711) _exit(1);
        if (syscall(SYS_getppid) != getpid()) _exit(2);
        // Changed into a call that the filter refuses.
        if (syscall(SYS_getppid) != -1 || errno != ENOENT) _exit(3);
        _exit(0);
    });
    set_options(pid, PTRACE_O_TRACESECCOMP);
    for (const long number : {-1L, static_cast<long>(SYS_getpid), static_cast<long>(SYS_getpgrp)}) {
        cont(pid);
        expect_event(wait_status(pid), PTRACE_EVENT_SECCOMP);
        user_regs_struct regs = registers(pid);
        regs.orig_rax = static_cast<unsigned long long>(number);
        if (number == -1) regs.rax = 4711;
        OK(ptrace(PTRACE_SETREGS, pid, nullptr, &regs));
    }
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("seccomp_trace_without_the_option_is_enosys") {
    pid_t pid = traced([] {
        trace_getppid_by_filter();
        _exit(syscall(SYS_getppid) == -1 && errno == ENOSYS ? 0 : 1);
    });
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("syscall_info") {
    struct {  // struct ptrace_syscall_info
        uint8_t op, pad[3];
        uint32_t arch;
        uint64_t instruction, stack, words[7];
        uint32_t filter_data, reserved;
    } info{};
    constexpr auto kGetSyscallInfo = static_cast<__ptrace_request>(0x420e);
    const auto get = [&](pid_t pid) { return ptrace(kGetSyscallInfo, pid, sizeof info, &info); };
    pid_t pid = traced([] {
        trace_getppid_by_filter();
        syscall(SYS_getppid, 1, 2, 3, 4, 5, 6);
        _exit(0);
    });
    CHECK_EQ(get(pid), 24);
    CHECK_EQ(info.op, 0);
    CHECK_EQ(info.arch, 0xc000003e);
    set_options(pid, PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_SECCOMP);
    CHECK_GE(get(pid), 84);
    CHECK_EQ(info.op, 3);
    CHECK_EQ(info.words[0], SYS_getppid);
    for (uint64_t i = 1; i <= 6; i++) CHECK_EQ(info.words[i], i);
    CHECK_EQ(info.filter_data, 77);
    to_syscall(pid);
    expect_syscall_stop(pid);
    CHECK_EQ(get(pid), 33);
    CHECK_EQ(info.op, 2);
    CHECK_GT(info.words[0], 0);
    to_syscall(pid);
    expect_syscall_stop(pid);
    CHECK_EQ(get(pid), 80);
    CHECK_EQ(info.op, 1);
    CHECK_EQ(info.words[0], SYS_exit_group);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("exit_event") {
    pid_t pid = traced([] { _exit(13); });
    set_options(pid, PTRACE_O_TRACEEXIT);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_EXIT);
    CHECK_EQ(message(pid), 13 << 8);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 13);
}

TEST("exit_event_of_a_killed_process") {
    pid_t pid = traced([] { raise(SIGTERM); });
    set_options(pid, PTRACE_O_TRACEEXIT);
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTERM);
    cont(pid, SIGTERM);
    expect_event(wait_status(pid), PTRACE_EVENT_EXIT);
    CHECK_EQ(message(pid), SIGTERM);
    cont(pid);
    CHECK_SIGNALED(wait_status(pid), SIGTERM);
}
