// Addresses of the kernel's half: touched by the application, mapped, given to system calls, used as stack or handler.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/guest/isolation/forbidden.hpp"

using namespace guest;

namespace {
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

TEST("system_call_at_end_of_address_space") {
    // SYSCALL as the last two bytes below the hole: its return address is 2^47, the famous SYSRET case. mmap refuses
    // the page.
    CHECK_ERRNO(mmap(reinterpret_cast<void*>(0x7ffffffff000), 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                ENOMEM);
}

TEST("kernel_logs_and_memory_devices_are_closed") {
    for (const char* path : {"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/proc/kcore"}) {
        int fd = open(path, O_RDONLY);
        CHECK_EQ(fd, -1);
    }
}
