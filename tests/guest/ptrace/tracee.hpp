#pragma once
// A tracee and what its tracer does to it, for all tests of ptrace.
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "tests/guest/guest_test.hpp"

namespace guest {

constexpr long kOptionsBase = PTRACE_O_TRACESYSGOOD;

// A child that stops itself and then runs `body`.
template <typename Body>
pid_t traced(Body body) {
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
        raise(SIGSTOP);
        body();
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGSTOP);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, kOptionsBase | PTRACE_O_EXITKILL));
    return pid;
}

template <typename Body>
pid_t untraced(Body body) {
    pid_t pid = OK(fork());
    if (pid == 0) {
        body();
        _exit(0);
    }
    return pid;
}

inline int wait_status(pid_t pid) {
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, __WALL), pid);
    return status;
}

inline void cont(pid_t pid, int signal = 0) { OK(ptrace(PTRACE_CONT, pid, nullptr, static_cast<long>(signal))); }
inline void to_syscall(pid_t pid) { OK(ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr)); }

inline user_regs_struct registers(pid_t pid) {
    user_regs_struct regs;
    OK(ptrace(PTRACE_GETREGS, pid, nullptr, &regs));
    return regs;
}

inline void expect_syscall_stop(pid_t pid) {
    const int status = wait_status(pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTRAP | 0x80);
}

// Runs to the next entry of that call.
inline void run_to(pid_t pid, long number) {
    for (int i = 0; i < 200; i++) {
        to_syscall(pid);
        expect_syscall_stop(pid);
        if (static_cast<long>(registers(pid).orig_rax) == number) return;
    }
    fail(__FILE__, __LINE__, "system call %ld did not come", number);
}

inline void expect_event(int status, int event) { CHECK_EQ(status, SIGTRAP << 8 | event << 16 | 0x7f); }

inline long message(pid_t pid) {
    unsigned long value = 0;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETEVENTMSG), pid, nullptr, &value));
    return static_cast<long>(value);
}

inline void set_options(pid_t pid, long options) {
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, options | PTRACE_O_EXITKILL));
}

inline volatile long word = 0x1122334455667788;  // for the tracer to read and write

}  // namespace guest
