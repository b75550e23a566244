// ptrace: signal stops, memory and registers.
#include <elf.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <cstddef>

#include "tests/guest/ptrace/tracee.hpp"

using namespace guest;

TEST("traceme_stops_at_a_signal") {
    pid_t pid = traced([] { _exit(7); });
    cont(pid);
    CHECK_EXITED(wait_status(pid), 7);
}

TEST("traceme_twice_is_eperm") {
    CHECK_EXITED(run_child([] {
                     OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
                     CHECK_ERRNO(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr), EPERM);
                 }),
                 0);
}

TEST("signal_is_suppressed") {
    pid_t pid = traced([] {
        raise(SIGUSR1);
        _exit(3);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    cont(pid, 0);
    CHECK_EXITED(wait_status(pid), 3);
}

TEST("signal_is_delivered") {
    pid_t pid = traced([] {
        raise(SIGUSR1);
        _exit(3);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    cont(pid, SIGUSR1);
    CHECK_SIGNALED(wait_status(pid), SIGUSR1);
}

TEST("signal_is_replaced") {
    pid_t pid = traced([] { raise(SIGUSR1); });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    cont(pid, SIGTERM);
    CHECK_SIGNALED(wait_status(pid), SIGTERM);
}

TEST("ignored_signal_is_seen") {
    pid_t pid = traced([] {
        signal(SIGUSR2, SIG_IGN);
        raise(SIGUSR2);
        _exit(5);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR2);
    cont(pid, SIGUSR2);
    CHECK_EXITED(wait_status(pid), 5);
}

TEST("sigkill_ends_a_stopped_tracee") {
    pid_t pid = traced([] { pause(); });
    OK(kill(pid, SIGKILL));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("ptrace_kill_ends_it") {
    pid_t pid = traced([] { pause(); });
    OK(ptrace(PTRACE_KILL, pid, nullptr, nullptr));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("siginfo_tells_the_sender") {
    pid_t pid = traced([] { raise(SIGUSR1); });
    cont(pid);
    wait_status(pid);
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_signo, SIGUSR1);
    CHECK_EQ(info.si_code, SI_TKILL);
    CHECK_EQ(info.si_pid, pid);
}

TEST("siginfo_can_be_changed") {
    pid_t pid = traced([] {
        struct sigaction action = {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_value.sival_int); };
        OK(sigaction(SIGUSR1, &action, nullptr));
        raise(SIGUSR1);
    });
    cont(pid);
    wait_status(pid);
    siginfo_t info = {};
    info.si_signo = SIGUSR1;
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = 42;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETSIGINFO), pid, nullptr, &info));
    cont(pid, SIGUSR1);
    CHECK_EXITED(wait_status(pid), 42);
}

TEST("peek_and_poke_memory") {
    pid_t pid = traced([] { _exit(word == 99 ? 1 : 2); });
    errno = 0;
    CHECK_EQ(ptrace(PTRACE_PEEKDATA, pid, const_cast<long*>(&word), nullptr), 0x1122334455667788);
    CHECK_EQ(errno, 0);
    OK(ptrace(PTRACE_POKEDATA, pid, const_cast<long*>(&word), 99l));
    CHECK_EQ(word, 0x1122334455667788);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("poke_writes_code") {
    static unsigned char* code;
    code = static_cast<unsigned char*>(
        OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    memcpy(code, "\xb8\x01\x00\x00\x00\xc3", 6);  // mov eax, 1; ret
    OK(mprotect(code, 4096, PROT_READ | PROT_EXEC));
    pid_t pid = traced([] { _exit(reinterpret_cast<int (*)()>(code)()); });
    OK(ptrace(PTRACE_POKETEXT, pid, code, 0xc300000009b8));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
    CHECK_EQ(code[1], 1);
}

TEST("peek_of_nothing_is_eio") {
    pid_t pid = traced([] {});
    CHECK_ERRNO(ptrace(PTRACE_PEEKDATA, pid, 8, nullptr), EIO);
    CHECK_ERRNO(ptrace(PTRACE_POKEDATA, pid, 8, 1l), EIO);
}

TEST("registers_are_read_and_written") {
    pid_t pid = traced([] {
        long result;
        asm volatile("mov $5, %%r12; int3; mov %%r12, %0" : "=r"(result)::"r12");
        _exit(static_cast<int>(result));
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    user_regs_struct regs = registers(pid);
    CHECK_EQ(regs.r12, 5);
    CHECK_EQ(regs.cs, 0x33);
    CHECK_EQ(regs.ss, 0x2b);
    CHECK_EQ(static_cast<long>(regs.orig_rax), -1);
    regs.r12 = 77;
    OK(ptrace(PTRACE_SETREGS, pid, nullptr, &regs));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 77);
}

TEST("breakpoint_stops_behind_int3") {
    pid_t pid = traced([] {
        asm volatile("int3; nop");
        _exit(4);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    const auto regs = registers(pid);
    const long before = ptrace(PTRACE_PEEKTEXT, pid, regs.rip - 1, nullptr);
    CHECK_EQ(before & 0xff, 0xcc);
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_code, SI_KERNEL);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 4);
}

TEST("user_area_has_registers") {
    pid_t pid = traced([] {
        asm volatile("mov $6, %%rbx; int3" ::: "rbx");
        _exit(0);
    });
    cont(pid);
    wait_status(pid);
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(user, regs.rbx), nullptr), 6);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rbx), 8l));
    CHECK_EQ(registers(pid).rbx, 8);
    CHECK_ERRNO(ptrace(PTRACE_PEEKUSER, pid, 3, nullptr), EIO);
    CHECK_ERRNO(ptrace(PTRACE_PEEKUSER, pid, sizeof(user) + 16, nullptr), EIO);
    errno = 0;
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(user, u_debugreg[7]), nullptr), 0);
    CHECK_EQ(errno, 0);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, u_debugreg[7]), 0l));
}

TEST("bad_selector_is_eio") {
    pid_t pid = traced([] {});
    user_regs_struct regs = registers(pid);
    regs.cs = 0x10;
    CHECK_ERRNO(ptrace(PTRACE_SETREGS, pid, nullptr, &regs), EIO);
}

TEST("regset_prstatus") {
    pid_t pid = traced([] {});
    user_regs_struct regs;
    iovec window = {&regs, sizeof regs + 64};
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_PRSTATUS, &window));
    CHECK_EQ(window.iov_len, sizeof regs);
    CHECK_EQ(regs.rip, registers(pid).rip);
    window = {&regs, 16};
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_PRSTATUS, &window));
    CHECK_EQ(window.iov_len, 16);
    window = {&regs, 13};
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_PRSTATUS, &window), EINVAL);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, 0x7777, &window), EINVAL);
}

TEST("floating_point_registers") {
    pid_t pid = traced([] {
        double value = 1.5;
        asm volatile("movsd %0, %%xmm9; int3; movsd %%xmm9, %0" : "+m"(value)::"xmm9");
        _exit(static_cast<int>(value));
    });
    cont(pid);
    wait_status(pid);
    user_fpregs_struct fp;
    OK(ptrace(PTRACE_GETFPREGS, pid, nullptr, &fp));
    double value;
    memcpy(&value, &fp.xmm_space[9 * 4], sizeof value);
    CHECK(value == 1.5);
    CHECK_EQ(fp.cwd, 0x37f);
    value = 33;
    memcpy(&fp.xmm_space[9 * 4], &value, sizeof value);
    OK(ptrace(PTRACE_SETFPREGS, pid, nullptr, &fp));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 33);
}

TEST("xstate_regset_round_trip") {
    pid_t pid = traced([] {
        double value = 2;
        asm volatile("movsd %0, %%xmm3; int3; movsd %%xmm3, %0" : "+m"(value)::"xmm3");
        _exit(static_cast<int>(value));
    });
    cont(pid);
    wait_status(pid);
    alignas(64) static char area[16384];
    iovec window = {area, sizeof area};
    if (ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_X86_XSTATE, &window) < 0) SKIP("no XSAVE");
    CHECK_GE(window.iov_len, 576);
    uint64_t features;
    memcpy(&features, area + 464, sizeof features);
    CHECK_EQ(features & 3, 3);
    double value = 21;
    memcpy(area + 160 + 3 * 16, &value, sizeof value);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETREGSET), pid, NT_X86_XSTATE, &window));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 21);
}
