// Registers and flags across system calls, forged signal frames, single steps, segment bases.
#include <sys/syscall.h>
#include <ucontext.h>

#include "tests/guest/isolation/forbidden.hpp"

using namespace guest;

TEST("popf_cannot_clear_interrupt_flag") {
    uint64_t flags;
    asm volatile("pushfq\n pushfq\n andq $~0x200, (%%rsp)\n popfq\n pushfq\n pop %0\n popfq"
                 : "=r"(flags)
                 :
                 : "memory", "cc");
    CHECK_EQ(flags & 0x200, 0x200);
}

TEST("popf_cannot_raise_iopl") {
    uint64_t flags;
    asm volatile("pushfq\n pushfq\n orq $0x3000, (%%rsp)\n popfq\n pushfq\n pop %0\n popfq"
                 : "=r"(flags)
                 :
                 : "memory", "cc");
    CHECK_EQ(flags & 0x3000, 0);
}

TEST("code_segment_is_ring3") {
    uint16_t cs, ss;
    asm volatile("mov %%cs, %0\n mov %%ss, %1" : "=r"(cs), "=r"(ss));
    CHECK_EQ(cs, 0x33);
    CHECK_EQ(ss, 0x2b);
}

TEST("single_step_flag_is_sigtrap") {
    Trap trap = trap_of([] { asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n nop" : : : "memory", "cc"); });
    CHECK_EQ(trap.signo, SIGTRAP);
    CHECK_EQ(trap.code, TRAP_TRACE);
}

TEST("single_step_across_system_call") {
    // TF set at a syscall instruction: the trap comes after it, in the application, not in the kernel.
    static volatile sig_atomic_t hits;
    hits = 0;
    signal(SIGTRAP, [](int) { hits = hits + 1; });
    long result = SYS_getppid;
    asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n syscall\n nop\n pushfq\n andq $~0x100, (%%rsp)\n popfq"
                 : "+a"(result)
                 :
                 : "rcx", "r11", "memory", "cc");
    CHECK_EQ(result, getppid());
    CHECK_GE(hits, 2);
}

TEST("single_step_many_instructions") {
    static volatile sig_atomic_t hits;
    hits = 0;
    signal(SIGTRAP, [](int) { hits = hits + 1; });
    asm volatile(
        "mov $20, %%ecx\n pushfq\n orq $0x100, (%%rsp)\n popfq\n 1: dec %%ecx\n jnz 1b\n pushfq\n andq $~0x100, "
        "(%%rsp)\n popfq"
        :
        :
        : "rcx", "memory", "cc");
    CHECK_GE(hits, 40);
}

TEST("sigreturn_cannot_raise_privilege") {
    // A forged frame: cs and ss of ring 0, IF clear, IOPL 3. Linux forces ring 3 and safe flags, or kills.
    int status = run_child([] {
        struct sigaction action = {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int, siginfo_t*, void* context) {
            auto* user = static_cast<ucontext_t*>(context);
            user->uc_mcontext.gregs[REG_CSGSFS] = 0x0018'0000'0000'0010;
            user->uc_mcontext.gregs[REG_EFL] = 0x3002;
        };
        OK(sigaction(SIGUSR1, &action, nullptr));
        raise(SIGUSR1);
        uint16_t cs;
        uint64_t flags;
        asm volatile("mov %%cs, %0\n pushfq\n pop %1" : "=r"(cs), "=r"(flags));
        if ((cs & 3) != 3 || (flags & 0x3000) != 0 || (flags & 0x200) == 0) _exit(9);
        asm volatile("cli");
        _exit(10);
    });
    CHECK_SIGNALED(status, SIGSEGV);
}

TEST("sigreturn_to_noncanonical_address") {
    int status = run_child([] {
        struct sigaction action = {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int, siginfo_t*, void* context) {
            static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(0x8000000000000000ul);
        };
        OK(sigaction(SIGUSR1, &action, nullptr));
        raise(SIGUSR1);
    });
    CHECK_SIGNALED(status, SIGSEGV);
}

TEST("sigreturn_without_frame_kills") {
    CHECK_SIGNALED(run_child([] {
                       asm volatile("mov $64, %%rsp; syscall" : : "a"(SYS_rt_sigreturn) : "memory");
                   }),
                   SIGSEGV);
    CHECK_SIGNALED(
        run_child([] {
            asm volatile("mov %0, %%rsp; syscall" : : "r"(abi::kSentryBase), "a"(SYS_rt_sigreturn) : "memory");
        }),
        SIGSEGV);
}

TEST("flags_survive_system_call") {
    for (uint64_t bits : {0x8d5ul, 0x400ul, 0x4000ul, 0x40000ul, 0x200000ul, 0x44cd5ul}) {
        uint64_t flags;
        long result = SYS_getppid;
        asm volatile(
            "pushfq\n pop %%rbx\n mov %%rbx, %%rdx\n or %[bits], %%rdx\n push %%rdx\n popfq\n syscall\n pushfq\n pop "
            "%[flags]\n push %%rbx\n popfq"
            : "+a"(result), [flags] "=&r"(flags)
            : [bits] "r"(bits)
            : "rbx", "rcx", "rdx", "r11", "memory", "cc");
        CHECK_EQ(result, getppid());
        // AC and NT are kept by Linux across SYSCALL, as all user-changeable flags.
        CHECK_EQ(flags & bits, bits);
    }
}

TEST("rcx_and_r11_after_system_call") {
    uint64_t rcx, r11, rip, flags;
    asm volatile("pushfq\n pop %[flags]\n lea 1f(%%rip), %[rip]\n syscall\n 1: mov %%rcx, %[rcx]\n mov %%r11, %[r11]"
                 : [rcx] "=&r"(rcx), [r11] "=&r"(r11), [rip] "=&r"(rip), [flags] "=&r"(flags)
                 : "a"(SYS_getppid)
                 : "rcx", "r11", "memory");
    CHECK_EQ(rcx, rip);
    CHECK_EQ(r11 & 0xfd5, flags & 0xfd5);
}

TEST("other_registers_survive_system_call") {
    uint64_t bad = 0;
    asm volatile(
        "mov $0x11, %%rbx; mov $0x22, %%rdx; mov $0x33, %%rsi; mov $0x44, %%rdi; mov $0x55, %%r8; mov $0x66, %%r9; mov "
        "$0x77, %%r10\n"
        "mov $0x88, %%r12; mov $0x99, %%r13; mov $0xaa, %%r14; mov $0xbb, %%r15; mov %[number], %%eax; syscall\n xor "
        "%%eax, %%eax\n"
        "cmp $0x11, %%rbx; setne %%al; add %%rax, %[bad]; cmp $0x22, %%rdx; setne %%al; add %%rax, %[bad]; cmp $0x33, "
        "%%rsi; setne %%al; add %%rax, %[bad]\n"
        "cmp $0x44, %%rdi; setne %%al; add %%rax, %[bad]; cmp $0x55, %%r8; setne %%al; add %%rax, %[bad]; cmp $0x66, "
        "%%r9; setne %%al; add %%rax, %[bad]\n"
        "cmp $0x77, %%r10; setne %%al; add %%rax, %[bad]; cmp $0x88, %%r12; setne %%al; add %%rax, %[bad]; cmp $0x99, "
        "%%r13; setne %%al; add %%rax, %[bad]\n"
        "cmp $0xaa, %%r14; setne %%al; add %%rax, %[bad]; cmp $0xbb, %%r15; setne %%al; add %%rax, %[bad]\n"
        : [bad] "+m"(bad)
        : [number] "i"(SYS_getppid)
        : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
          "cc");
    CHECK_EQ(bad, 0);
}

TEST("segment_bases_by_arch_prctl") {
    static uint64_t here[2] = {0x1234, 0x5678};
    OK(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, here));
    uint64_t value;
    asm volatile("mov %%gs:8, %0" : "=r"(value));
    CHECK_EQ(value, 0x5678);
    uint64_t base = 0;
    OK(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &base));
    CHECK_EQ(base, here);
    CHECK_ERRNO(syscall(SYS_arch_prctl, 0x1001, abi::kSentryBase), EPERM);
    CHECK_ERRNO(syscall(SYS_arch_prctl, 0x1002, 0x800000000000), EPERM);
    CHECK_ERRNO(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
}

TEST("gs_base_survives_system_calls_and_switches") {
    static uint64_t here[1] = {0xabcdef};
    OK(syscall(SYS_arch_prctl, 0x1001, here));
    CHECK_EXITED(run_child([] {
                     static uint64_t other[1] = {0x111};
                     uint64_t value;
                     asm volatile("mov %%gs:0, %0" : "=r"(value));
                     CHECK_EQ(value, 0xabcdef);
                     OK(syscall(SYS_arch_prctl, 0x1001, other));
                     sleep_ms(2);
                     asm volatile("mov %%gs:0, %0" : "=r"(value));
                     CHECK_EQ(value, 0x111);
                 }),
                 0);
    uint64_t value;
    asm volatile("mov %%gs:0, %0" : "=r"(value));
    CHECK_EQ(value, 0xabcdef);
}

TEST("gs_base_in_kernel_half_does_not_confuse_entry") {
    // With FSGSBASE an application sets any GS base itself; the kernel's entry must not trust it. Without it the
    // instruction is SIGILL.
    Trap trap = trap_of([] {
        asm volatile("wrgsbase %0" : : "r"(abi::kSentryBase));
        pid_t pid = getppid();
        sleep_ms(2);
        if (pid != getppid()) _exit(3);
        uint64_t base;
        asm volatile("rdgsbase %0" : "=r"(base));
        if (base != abi::kSentryBase) _exit(4);
        (void)*reinterpret_cast<volatile char*>(8);
    });
    CHECK(trap.signo == SIGILL || (trap.signo == SIGSEGV && trap.addr == 8));
}
