// What an application must not be able to do, and that it gets what Linux gives: privileged instructions, odd
// interrupts, addresses of the kernel's half, system calls with pointers there, odd flags at a system call. Addresses
// are those where the Sentry, its gate and its devices really are.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "common/abi/layout.hpp"
#include "tests/guest/guest_test.hpp"

using namespace guest;
namespace abi = kvmsbx::abi;

namespace {
// Places an application must not reach, from the public memory layout.
constexpr uint64_t kForbidden[] = {
    0xffff800000000000,
    abi::kDirectMap + abi::kRamGpa,
    abi::kDirectMap + abi::kRamGpa + 0x200000,
    abi::kDirectMap + abi::kChannelGpa,
    abi::kDirectMap + abi::kDeviceGpa + abi::kHypercallOffset,
    abi::kDirectMap + abi::kDeviceGpa + abi::kGoferDoorbellOffset,
    abi::kDirectMap + abi::kLapicGpa,
    abi::kGateBase,
    abi::kGateBase + 0x1000,
    abi::kGateBase + 0x2000,
    abi::kGateBase + abi::kGateStride,
    abi::kSentryBase,
    abi::kSentryBase + 0x1000,
    abi::kSentryBase + 0x200000,
    0xffffffffff600000 - 0x1000,
    0xfffffffffffff000,
};

template <typename Body>
void gives(const char* what, int signo, int code, Body body) {
    Trap trap = trap_of(body);
    if (trap.signo != signo || trap.code != code)
        fail(__FILE__, __LINE__, "%s: signal %d code %d, expected %d code %d", what, trap.signo, trap.code, signo,
             code);
}

void each_is_segv(const char* what, void (*access)(uint64_t)) {
    for (uint64_t address : kForbidden) {
        Trap trap = trap_of([=] { access(address); });
        if (trap.signo != SIGSEGV) fail(__FILE__, __LINE__, "%s at 0x%lx: signal %d", what, address, trap.signo);
        // Linux tells no address but the one that was used, and nothing about what is mapped there.
        if (trap.code != SEGV_MAPERR && trap.code != SI_KERNEL)
            fail(__FILE__, __LINE__, "%s at 0x%lx: code %d tells what is there", what, address, trap.code);
        if (trap.code == SEGV_MAPERR && trap.addr != address)
            fail(__FILE__, __LINE__, "%s at 0x%lx: si_addr 0x%lx", what, address, trap.addr);
    }
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

TEST("read_of_kernel_half_is_segv") {
    each_is_segv("read", [](uint64_t address) { (void)*reinterpret_cast<volatile char*>(address); });
}

TEST("write_to_kernel_half_is_segv") {
    each_is_segv("write", [](uint64_t address) { *reinterpret_cast<volatile char*>(address) = 1; });
}

TEST("word_write_to_doorbells_is_segv") {
    each_is_segv("4-byte write", [](uint64_t address) { *reinterpret_cast<volatile uint32_t*>(address) = 1; });
}

TEST("jump_to_kernel_half_is_segv") {
    each_is_segv("jump", [](uint64_t address) { reinterpret_cast<void (*)()>(address)(); });
}

TEST("prefetch_and_atomics_on_kernel_half") {
    each_is_segv("atomic add", [](uint64_t address) {
        __atomic_fetch_add(reinterpret_cast<uint64_t*>(address & ~7ul), 1, __ATOMIC_SEQ_CST);
    });
    for (uint64_t address : kForbidden) __builtin_prefetch(reinterpret_cast<void*>(address));
}

TEST("syscall_stub_of_ring3_mode_is_harmless") {
    // The one page of the gate that ring 3 may execute. Natively nothing is there; in the sandbox it may be executed,
    // but neither written nor used to get in: a jump to it is at most a system call.
    Trap write_trap = trap_of([] { *reinterpret_cast<volatile char*>(abi::kSyscallStub) = 1; });
    CHECK_EQ(write_trap.signo, SIGSEGV);
    for (unsigned offset = 0; offset < 64; offset++) {
        int status = run_child([=] {
            asm volatile("mov $64, %%rsp; jmp *%%rbx"
                         :
                         : "b"(abi::kSyscallStub + offset), "a"(SYS_exit_group), "D"(7ul), "c"(0x1000ul), "d"(0ul),
                           "S"(0ul)
                         : "memory");
            __builtin_unreachable();
        });
        CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 7);
    }
}

TEST("stack_pointer_in_kernel_half") {
    for (uint64_t address :
         {abi::kDirectMap + abi::kRamGpa + 0x8000, abi::kSentryBase + 0x8000, abi::kGateBase + 0x800}) {
        int status = run_child([=] {
            asm volatile("mov %0, %%rsp; push %%rax; mov $60, %%eax; xor %%edi, %%edi; syscall"
                         :
                         : "r"(address)
                         : "memory");
        });
        CHECK_SIGNALED(status, SIGSEGV);
    }
}

TEST("stack_pointer_bad_at_system_call_is_fine") {
    // The kernel must not touch the application's stack: the call works whatever rsp is.
    for (uint64_t address : {0ul, 8ul, 0xffff800000000000ul, 0x8000000000000000ul, abi::kSentryBase + 0x8000, ~0ul}) {
        int status = run_child([=] {
            asm volatile("mov %0, %%rsp; syscall" : : "r"(address), "a"(SYS_exit_group), "D"(21) : "memory");
        });
        CHECK_EXITED(status, 21);
    }
}

TEST("stack_pointer_bad_at_fault") {
    for (uint64_t address :
         {0ul, 0xffff800000000000ul, 0x8000000000000000ul, abi::kSentryBase + 0x8000, abi::kGateBase + 0x800}) {
        int status = run_child([=] { asm volatile("mov %0, %%rsp; ud2" : : "r"(address) : "memory"); });
        CHECK_SIGNALED(status, SIGILL);
    }
}

TEST("mmap_in_kernel_half_is_refused") {
    for (uint64_t address : kForbidden) {
        CHECK_ERRNO(mmap(reinterpret_cast<void*>(address & ~0xffful), 4096, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                    ENOMEM);
        void* hint =
            mmap(reinterpret_cast<void*>(address & ~0xffful), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK_LT(reinterpret_cast<uint64_t>(hint) >> 47, 1u);
    }
    CHECK_ERRNO(
        mmap(reinterpret_cast<void*>(abi::kUserEnd), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        ENOMEM);
    CHECK_ERRNO(mmap(reinterpret_cast<void*>(abi::kUserEnd - 4096), 8192, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                ENOMEM);
}

TEST("munmap_mprotect_madvise_in_kernel_half_are_refused") {
    for (uint64_t address : kForbidden) {
        void* page = reinterpret_cast<void*>(address & ~0xffful);
        CHECK_ERRNO(munmap(page, 4096), EINVAL);
        CHECK_ERRNO(mprotect(page, 4096, PROT_READ | PROT_WRITE), ENOMEM);
        CHECK(madvise(page, 4096, MADV_DONTNEED) == -1 && (errno == ENOMEM || errno == EINVAL));
        CHECK(mremap(page, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED && (errno == EFAULT || errno == EINVAL));
    }
    // A range that starts below and ends above.
    CHECK_ERRNO(munmap(reinterpret_cast<void*>(0x7ffffffff000 - 4096), 1ul << 46), EINVAL);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    CHECK(mremap(memory, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(abi::kSentryBase)) ==
          MAP_FAILED);
}

TEST("pointers_into_kernel_half_are_efault") {
    int zero = OK(open("/dev/zero", O_RDONLY)), file = OK(open("/bin/busybox", O_RDONLY));
    int fds[2];
    OK(pipe(fds));
    for (uint64_t address : kForbidden) {
        void* bad = reinterpret_cast<void*>(address);
        CHECK_ERRNO(read(zero, bad, 16), EFAULT);
        CHECK_ERRNO(read(file, bad, 16), EFAULT);
        CHECK_ERRNO(pread(file, bad, 16, 0), EFAULT);
        CHECK_ERRNO(write(fds[1], bad, 16), EFAULT);
        CHECK_ERRNO(syscall(SYS_open, bad, O_RDONLY), EFAULT);
        CHECK_ERRNO(syscall(SYS_stat, "/", bad), EFAULT);
        CHECK_ERRNO(syscall(SYS_uname, bad), EFAULT);
        CHECK_ERRNO(syscall(SYS_getrandom, bad, 16, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_clock_gettime, 0, bad), EFAULT);
        CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, nullptr, bad, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_futex, address & ~7ul, 0 /* FUTEX_WAIT */, 0, nullptr, nullptr, 0), EFAULT);
        iovec one = {bad, 16};
        CHECK_ERRNO(readv(zero, &one, 1), EFAULT);
        CHECK_ERRNO(syscall(SYS_readv, zero, bad, 1), EFAULT);
        CHECK_ERRNO(syscall(SYS_execve, "/bin/busybox", bad, nullptr), EFAULT);
        CHECK_ERRNO(syscall(SYS_pipe, bad), EFAULT);
    }
}

TEST("length_that_wraps_is_refused") {
    int zero = OK(open("/dev/zero", O_RDONLY));
    char small[16];
    ssize_t n = read(zero, small, ~0ul);
    CHECK(n == -1 && errno == EFAULT);
    iovec one = {small, ~0ul};
    CHECK_ERRNO(readv(zero, &one, 1), EINVAL);
}

TEST("robust_list_and_tid_words_in_kernel_half") {
    // Pointers that the kernel uses later, at exit: they must not be written then.
    for (uint64_t address : {abi::kDirectMap + abi::kRamGpa, abi::kSentryBase, abi::kGateBase}) {
        CHECK_EXITED(run_child([=] {
                         syscall(SYS_set_tid_address, address);
                         syscall(SYS_set_robust_list, address, 24);
                         _exit(5);
                     }),
                     5);
    }
}

TEST("signal_handler_and_stack_in_kernel_half") {
    for (uint64_t address : {abi::kDirectMap + abi::kRamGpa, abi::kSentryBase, abi::kGateBase}) {
        int status = run_child([=] {
            struct sigaction action = {};
            action.sa_handler = reinterpret_cast<void (*)(int)>(address);
            OK(sigaction(SIGUSR1, &action, nullptr));
            raise(SIGUSR1);
        });
        CHECK_SIGNALED(status, SIGSEGV);
        status = run_child([=] {
            stack_t stack = {};
            stack.ss_sp = reinterpret_cast<void*>(address);
            stack.ss_size = 65536;
            sigaltstack(&stack, nullptr);
            struct sigaction action = {};
            action.sa_handler = [](int) {};
            action.sa_flags = SA_ONSTACK;
            OK(sigaction(SIGUSR1, &action, nullptr));
            raise(SIGUSR1);
            _exit(4);
        });
        CHECK_SIGNALED(status, SIGSEGV);
    }
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

TEST("system_call_at_end_of_address_space") {
    // SYSCALL as the last two bytes below the hole: its return address is 2^47, the famous SYSRET case. mmap refuses
    // the page.
    CHECK_ERRNO(mmap(reinterpret_cast<void*>(0x7ffffffff000), 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                ENOMEM);
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

TEST("kernel_logs_and_memory_devices_are_closed") {
    for (const char* path : {"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/proc/kcore"}) {
        int fd = open(path, O_RDONLY);
        CHECK_EQ(fd, -1);
    }
}
