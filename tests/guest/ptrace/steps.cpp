// Single steps over everything that is more than an instruction: system calls, breakpoints, faults, returns from handlers.
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/guest/ptrace/tracee.hpp"

using namespace guest;

namespace {

// One step; the stop must be that of a step.
user_regs_struct step(pid_t pid) {
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    return registers(pid);
}

// One step that ends in a stop for that signal instead.
user_regs_struct step_into(pid_t pid, int signal) {
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, signal);
    return registers(pid);
}

siginfo_t signal_of(pid_t pid) {
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    return info;
}

// Runs to the breakpoint with which the tracee's part begins. -> the address behind it
uint64_t run_to_breakpoint(pid_t pid) {
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    return registers(pid).rip;
}

}  // namespace

TEST("single_step_over_a_breakpoint") {
    pid_t pid = traced([] {
        asm volatile("int3; nop; int3; nop");
        _exit(9);
    });
    const uint64_t start = run_to_breakpoint(pid);
    CHECK_EQ(step(pid).rip, start + 1);
    CHECK_EQ(signal_of(pid).si_code, TRAP_TRACE);
    CHECK_EQ(step(pid).rip, start + 2);
    CHECK_EQ(signal_of(pid).si_code, SI_KERNEL);
    CHECK_EQ(step(pid).rip, start + 3);
    CHECK_EQ(signal_of(pid).si_code, TRAP_TRACE);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_step_into_a_fault") {
    pid_t pid = traced([] {
        // movb $1, (%rax); nop
        asm volatile("int3; movb $1, (%0); nop" : : "a"(8ul) : "memory");
        _exit(9);
    });
    const uint64_t start = run_to_breakpoint(pid);
    CHECK_EQ(step_into(pid, SIGSEGV).rip, start);
    CHECK_EQ(signal_of(pid).si_addr, 8);
    CHECK_EQ(step_into(pid, SIGSEGV).rip, start);  // suppressed: it is tried again
    user_regs_struct regs = registers(pid);
    regs.rip = start + 3;
    OK(ptrace(PTRACE_SETREGS, pid, nullptr, &regs));
    CHECK_EQ(step(pid).rip, start + 4);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_step_over_a_page_that_comes_by_a_fault") {
    pid_t pid = traced([] {
        void* const fresh = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        asm volatile("int3; movb $1, (%0); nop" : : "a"(fresh) : "memory");
        _exit(9);
    });
    const uint64_t start = run_to_breakpoint(pid);
    CHECK_EQ(step(pid).rip, start + 3);
    CHECK_EQ(step(pid).rip, start + 4);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_steps_through_several_system_calls") {
    pid_t pid = traced([] {
        long result = SYS_getppid;
        asm volatile("int3; syscall; mov %1, %%eax; syscall; mov %1, %%eax; syscall; nop"
                     : "+a"(result)
                     : "i"(SYS_gettid)
                     : "rcx", "r11", "memory");
        _exit(9);
    });
    const uint64_t start = run_to_breakpoint(pid);
    uint64_t at = start;
    for (int i = 0; i < 3; i++) {
        const user_regs_struct regs = step(pid);
        at += 2;
        CHECK_EQ(regs.rip, at);
        CHECK_EQ(regs.rax, i == 0 ? getpid() : pid);
        CHECK_EQ(regs.rcx, at);
        CHECK_EQ(regs.eflags & 0x100, 0);
        if (i < 2) CHECK_EQ(step(pid).rip, at += 5);
    }
    CHECK_EQ(step(pid).rip, at + 1);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_steps_through_a_handler_and_back") {
    static volatile bool handled;
    pid_t pid = traced([] {
        signal(SIGTRAP, SIG_DFL);
        signal(SIGUSR1, [](int) { handled = true; });
        asm volatile("int3; nop; nop");
        _exit(handled ? 9 : 1);
    });
    const uint64_t start = run_to_breakpoint(pid);
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, static_cast<long>(SIGUSR1)));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_NE(registers(pid).rip, start);
    int steps = 0;
    while (registers(pid).rip != start && steps < 200) step(pid), steps++;
    CHECK_EQ(registers(pid).rip, start);
    CHECK_GT(steps, 2);
    CHECK_EQ(step(pid).rip, start + 1);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_steps_of_a_thousand_instructions") {
    pid_t pid = traced([] {
        long count = 500;
        asm volatile("int3; 1: dec %0; jnz 1b; nop" : "+a"(count) : : "cc");
        _exit(static_cast<int>(count) + 9);
    });
    run_to_breakpoint(pid);
    for (int i = 0; i < 1000; i++) step(pid);
    CHECK_EQ(registers(pid).rax, 0);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}
