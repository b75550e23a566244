// ptrace: system-call stops and single steps.
#include <cstddef>

#include "tests/guest/ptrace/tracee.hpp"

using namespace guest;

TEST("syscall_stops_show_number_arguments_and_result") {
    pid_t pid = traced([] {
        syscall(SYS_getpgid, 0);
        _exit(0);
    });
    run_to(pid, SYS_getpgid);
    auto regs = registers(pid);
    CHECK_EQ(static_cast<long>(regs.rax), -ENOSYS);
    CHECK_EQ(regs.rdi, 0);
    to_syscall(pid);
    expect_syscall_stop(pid);
    regs = registers(pid);
    CHECK_EQ(regs.orig_rax, SYS_getpgid);
    CHECK_EQ(regs.rax, getpgid(pid));
}

TEST("syscall_number_can_be_changed") {
    pid_t pid = traced([] { _exit(syscall(SYS_getuid) == getpid() ? 1 : 2); });
    run_to(pid, SYS_getuid);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.orig_rax), static_cast<long>(SYS_getpid)));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("syscall_can_be_skipped") {
    pid_t pid = traced([] { _exit(syscall(SYS_getuid) == -1 && errno == ENOSYS ? 1 : 2); });
    run_to(pid, SYS_getuid);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.orig_rax), -1l));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("syscall_arguments_can_be_changed") {
    pid_t pid = traced([] { _exit(1); });
    run_to(pid, SYS_exit_group);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rdi), 55l));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 55);
}

TEST("syscall_result_can_be_changed") {
    pid_t pid = traced([] { _exit(static_cast<int>(syscall(SYS_getuid))); });
    run_to(pid, SYS_getuid);
    to_syscall(pid);
    expect_syscall_stop(pid);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rax), 66l));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 66);
}

TEST("without_sysgood_it_is_plain_sigtrap") {
    pid_t pid = traced([] { getppid(); });
    set_options(pid, 0);
    to_syscall(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
}

TEST("syscall_info_entry_and_exit") {
    pid_t pid = traced([] {
        syscall(SYS_close, 12345);
        _exit(0);
    });
    run_to(pid, SYS_close);
    char raw[96] = {};
    long size = OK(ptrace(static_cast<__ptrace_request>(0x420e), pid, sizeof raw, raw));
    CHECK_EQ(size, 80);
    CHECK_EQ(raw[0], 1);
    uint64_t words[3];
    memcpy(words, raw + 24, sizeof words);
    CHECK_EQ(words[0], SYS_close);
    CHECK_EQ(words[1], 12345);
    to_syscall(pid);
    expect_syscall_stop(pid);
    size = OK(ptrace(static_cast<__ptrace_request>(0x420e), pid, sizeof raw, raw));
    CHECK_EQ(size, 33);
    CHECK_EQ(raw[0], 2);
    memcpy(words, raw + 24, sizeof words);
    CHECK_EQ(static_cast<long>(words[0]), -EBADF);
    CHECK_EQ(raw[32], 1);
}

TEST("single_steps_count_instructions") {
    pid_t pid = traced([] {
        asm volatile("int3; nop; nop; nop; nop; int3");
        _exit(0);
    });
    cont(pid);
    wait_status(pid);
    const auto start = registers(pid).rip;
    for (int i = 1; i <= 4; i++) {
        OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
        CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
        const auto regs = registers(pid);
        CHECK_EQ(regs.rip, start + i);
        CHECK_EQ(regs.eflags & 0x100, 0);
    }
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_code, TRAP_TRACE);
}

TEST("single_step_over_a_system_call") {
    pid_t pid = traced([] {
        asm volatile("int3; syscall; nop; nop" ::"a"(SYS_getppid) : "rcx", "r11", "memory");
        _exit(9);
    });
    cont(pid);
    wait_status(pid);
    const auto start = registers(pid).rip;
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_EQ(registers(pid).rip, start + 2);
    CHECK_EQ(registers(pid).rax, getpid());
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_EQ(registers(pid).rip, start + 3);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_step_into_a_handler") {
    static void (*handler)(int) = [](int) { _exit(8); };
    pid_t pid = traced([] {
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, static_cast<long>(SIGUSR1)));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_EQ(registers(pid).rip, reinterpret_cast<uintptr_t>(handler));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 8);
}
