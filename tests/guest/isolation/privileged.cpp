// Privileged instructions, software interrupts and faults: the application gets the signal that Linux gives, and
// nothing else happens.
#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
template <typename Body>
void gives(const char* what, int signo, int code, Body body) {
    Trap trap = trap_of(body);
    if (trap.signo != signo || trap.code != code)
        fail(__FILE__, __LINE__, "%s: signal %d code %d, expected %d code %d", what, trap.signo, trap.code, signo,
             code);
}
}  // namespace

#define PRIVILEGED(name, text)                                                                                \
    TEST("privileged_" name) {                                                                                \
        gives(name, SIGSEGV, SI_KERNEL, [] { asm volatile(text : : "a"(0), "c"(0x10), "d"(0) : "memory"); }); \
    }

PRIVILEGED("cli", "cli")
PRIVILEGED("sti", "sti")
PRIVILEGED("hlt", "hlt")
PRIVILEGED("in_byte", "mov $0x80, %%dx; in %%dx, %%al")
PRIVILEGED("in_immediate", "in $0x60, %%al")
PRIVILEGED("out_byte", "mov $0x80, %%dx; out %%al, %%dx")
PRIVILEGED("out_immediate", "out %%al, $0xf4")
PRIVILEGED("mov_from_cr0", "mov %%cr0, %%rax")
PRIVILEGED("mov_from_cr3", "mov %%cr3, %%rax")
PRIVILEGED("mov_to_cr0", "mov %%rax, %%cr0")
PRIVILEGED("mov_to_cr3", "mov %%rax, %%cr3")
PRIVILEGED("mov_to_cr4", "mov %%rax, %%cr4")
PRIVILEGED("mov_to_cr8", "mov %%rax, %%cr8")
PRIVILEGED("mov_from_dr7", "mov %%dr7, %%rax")
PRIVILEGED("mov_to_dr0", "mov %%rax, %%dr0")
PRIVILEGED("rdmsr", "rdmsr")
PRIVILEGED("wrmsr", "wrmsr")
PRIVILEGED("wrmsr_lstar", "mov $0xc0000082, %%ecx; wrmsr")
PRIVILEGED("invd", "invd")
PRIVILEGED("wbinvd", "wbinvd")
PRIVILEGED("invlpg", "invlpg (%%rsp)")
PRIVILEGED("swapgs", "swapgs")
PRIVILEGED("sysret", "sysretq")
PRIVILEGED("clts", "clts")
PRIVILEGED("lmsw", "lmsw %%ax")
PRIVILEGED("ltr", "mov $0x40, %%ax; ltr %%ax")
PRIVILEGED("lldt", "xor %%eax, %%eax; lldt %%ax")
PRIVILEGED(
    "iretq_to_ring0",
    "mov %%rsp, %%rax; push $0x18; push %%rax; pushfq; push $0x10; lea 1f(%%rip), %%rax; push %%rax; iretq; 1: nop")
PRIVILEGED("far_return_to_ring0", "push $0x10; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: nop")
PRIVILEGED("load_kernel_ss", "mov $0x18, %%ax; mov %%ax, %%ss")
PRIVILEGED("load_kernel_cs_as_ds", "mov $0x7f08, %%ax; mov %%ax, %%ds")

TEST("privileged_lgdt_lidt") {
    static char descriptor[16];
    gives("lgdt", SIGSEGV, SI_KERNEL, [] { asm volatile("lgdt %0" : : "m"(descriptor)); });
    gives("lidt", SIGSEGV, SI_KERNEL, [] { asm volatile("lidt %0" : : "m"(descriptor)); });
}

TEST("privileged_xsetbv") {
    gives("xsetbv", SIGSEGV, SI_KERNEL, [] { asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0)); });
}

TEST("int3_is_sigtrap") {
    Trap trap = trap_of([] { asm volatile("int3"); });
    CHECK_EQ(trap.signo, SIGTRAP);
    CHECK_EQ(trap.code, SI_KERNEL);
    CHECK_EQ(trap.addr, 0);
}

TEST("int3_goes_on_behind") {
    static volatile sig_atomic_t hits;
    hits = 0;
    signal(SIGTRAP, [](int) { hits = hits + 1; });
    asm volatile("int3\n int3");
    CHECK_EQ(hits, 2);
}

TEST("int3_without_handler_kills") {
    CHECK_SIGNALED(run_child([] { asm volatile("int3"); }), SIGTRAP);
}

TEST("int1_is_sigtrap") {
    Trap trap = trap_of([] { asm volatile(".byte 0xf1"); });
    CHECK_EQ(trap.signo, SIGTRAP);
}

TEST("int_4_is_sigsegv") {
    Trap trap = trap_of([] { asm volatile("int $4"); });
    CHECK_EQ(trap.signo, SIGSEGV);
}

TEST("int_of_free_vectors_is_sigsegv") {
    gives("int $0x20", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x20"); });
    gives("int $0x40", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x40"); });  // the Sentry's timer vector
    gives("int $0x41", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x41"); });
    gives("int $0x43", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x43"); });
    gives("int $0xff", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0xff"); });
    gives("int $0x0e", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x0e"); });
    gives("int $0x08", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x08"); });
    gives("int $0x02", SIGSEGV, SI_KERNEL, [] { asm volatile("int $0x02"); });
}

TEST("int_80_does_no_harm") {
    // Linux may have the 32-bit table (getpid is 20 there) or not (SIGSEGV). Anything else would be a hole.
    pid_t self = getpid();
    Trap trap = trap_of([=] {
        long result = 20;
        asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
        if (result != self + 1 && result != -ENOSYS && result < 2) _exit(3);
    });
    CHECK(trap.signo == 0 || trap.signo == SIGSEGV);
}

TEST("sysenter_does_no_harm") {
    int status = run_child([] {
        asm volatile("mov $0xffffffff, %%ebp; sysenter" : : "a"(20) : "memory", "rcx", "rdx", "r11");
    });
    CHECK(WIFSIGNALED(status) || WIFEXITED(status));
}

TEST("ud2_is_sigill") {
    static char* here;
    Trap trap = trap_of([] { asm volatile("lea 1f(%%rip), %0\n 1: ud2" : "=r"(here)); });
    CHECK_EQ(trap.signo, SIGILL);
    CHECK_EQ(trap.code, ILL_ILLOPN);
    CHECK_EQ(trap.addr, trap.rip);
    CHECK_EQ(trap.trapno, 6);
}

TEST("vmcall_and_vmmcall_do_no_harm") {
    for (int which = 0; which < 2; which++) {
        Trap trap = trap_of([=] {
            if (which == 0)
                asm volatile("vmcall" : : "a"(5), "b"(0), "c"(0), "d"(0) : "memory");
            else
                asm volatile("vmmcall" : : "a"(5), "b"(0), "c"(0), "d"(0) : "memory");
        });
        CHECK(trap.signo == SIGILL || trap.signo == SIGSEGV || trap.signo == 0);
    }
}

TEST("divide_by_zero_is_sigfpe") {
    Trap trap = trap_of([] {
        asm volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; div %%ecx" : : : "rax", "rcx", "rdx", "cc");
    });
    CHECK_EQ(trap.signo, SIGFPE);
    CHECK_EQ(trap.code, FPE_INTDIV);
    CHECK_EQ(trap.addr, trap.rip);
    CHECK_EQ(trap.trapno, 0);
}

TEST("divide_overflow_is_sigfpe") {
    Trap trap = trap_of([] {
        asm volatile("mov $0x80000000, %%eax; cltd; mov $-1, %%ecx; idiv %%ecx" : : : "rax", "rcx", "rdx", "cc");
    });
    CHECK_EQ(trap.signo, SIGFPE);
}

TEST("alignment_check_is_sigbus") {
    Trap trap = trap_of([] {
        asm volatile(
            "pushfq\n orq $0x40000, (%%rsp)\n popfq\n mov %%rsp, %%rax\n mov 1(%%rax), %%ecx\n pushfq\n andq "
            "$~0x40000, (%%rsp)\n popfq"
            :
            :
            : "rax", "rcx", "memory", "cc");
    });
    CHECK_EQ(trap.signo, SIGBUS);
    CHECK_EQ(trap.code, BUS_ADRALN);
}
