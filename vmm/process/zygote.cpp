#include "vmm/process/zygote.hpp"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "common/abi/stub.hpp"
#include "vmm/process/stub_filter.hpp"

namespace kvmsbx::vmm {
namespace {

// From fork to the jump into the stub's code nothing may run that relies on what a libc or a sanitizer keeps: the
// memory goes away under it.
#define KVMSBX_BARE __attribute__((no_sanitize("address", "undefined"), noinline))

constexpr int kSpareFd = 100;  // above all descriptors of a stub
constexpr unsigned kLastSignal = 64;
constexpr long kMseal = 462;
static_assert(kSpareFd > abi::kStubWakeFd + static_cast<int>(abi::kMaxCpus));

// As rt_sigaction(2) takes it.
struct KernelAction {
    uint64_t handler, flags, restorer, mask;
};

struct Plan {
    int32_t parent;
    int fds[abi::kStubWakeFd + abi::kMaxCpus];
    unsigned fd_count;
    const std::byte* code;
    uint64_t base, entry, handler, restorer, orders_offset;
    sock_fprog filter;
    uint64_t rseq;
};

KVMSBX_BARE int64_t call(long number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0,
                         uint64_t f = 0) {
    register uint64_t r10 asm("r10") = d;
    register uint64_t r8 asm("r8") = e;
    register uint64_t r9 asm("r9") = f;
    int64_t result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

// The exit code tells which step failed.
KVMSBX_BARE void require(bool ok, unsigned step) {
    if (!ok) call(SYS_exit_group, step);
}

KVMSBX_BARE void take_descriptors(Plan& plan) {
    for (unsigned i = 0; i < plan.fd_count; i++) {
        plan.fds[i] = static_cast<int>(call(SYS_fcntl, static_cast<uint64_t>(plan.fds[i]), F_DUPFD, kSpareFd));
        require(plan.fds[i] >= 0, 2);
    }
    for (unsigned i = 0; i < plan.fd_count; i++) require(call(SYS_dup2, static_cast<uint64_t>(plan.fds[i]), i) >= 0, 3);
    require(call(SYS_close_range, plan.fd_count, ~0u, 0) == 0, 4);
}

// Those of runners lead to the handler. The others never come from the kernel; what somebody on the host sends (a
// terminal's ^C) is not for stubs.
KVMSBX_BARE void set_signals(const Plan& plan) {
    constexpr uint64_t kRestorerFlag = 0x04000000;
    uint64_t all = ~uint64_t{0};
    require(call(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<uint64_t>(&all), 0, sizeof all) == 0, 5);
    for (unsigned signal = 1; signal <= kLastSignal; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        bool runners = signal == SIGSYS || signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE ||
                       signal == SIGTRAP || signal == SIGILL || signal == abi::kPreemptSignal;
        KernelAction action{1, kRestorerFlag, plan.restorer, all};  // 1: SIG_IGN
        if (runners) action = {plan.handler, SA_SIGINFO | SA_ONSTACK | kRestorerFlag, plan.restorer, all};
        require(call(SYS_rt_sigaction, signal, reinterpret_cast<uint64_t>(&action), 0, sizeof all) == 0, 6);
    }
}

KVMSBX_BARE void map_stub(const Plan& plan) {
    uint64_t code = plan.base + abi::kStubCode, size = abi::kStubCodeSize;
    require(call(SYS_mmap, code, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~uint64_t{0},
                 0) == static_cast<int64_t>(code),
            7);
    const std::byte* from = plan.code;
    uint64_t to = code, count = size;
    asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    require(call(SYS_mprotect, code, size, PROT_READ | PROT_EXEC) == 0, 8);
    call(kMseal, code, size);  // a second lock, where the host has it (Linux 6.10)
    uint64_t orders = plan.base + abi::kStubOrders;
    require(call(SYS_mmap, orders, abi::kPageSize, PROT_READ, MAP_SHARED | MAP_FIXED, abi::kStubRamFd,
                 plan.orders_offset) == static_cast<int64_t>(orders),
            9);
}

// The libc's restartable sequence would be a write to memory that is gone.
KVMSBX_BARE void leave_libc(const Plan& plan) {
    constexpr uint64_t kUnregister = 1, kSignature = 0x53053053;
    if (plan.rseq != 0) call(SYS_rseq, plan.rseq, 32, kUnregister, kSignature);
    call(SYS_set_robust_list, 0, 24);
}

[[noreturn]] KVMSBX_BARE void become_zygote(Plan& plan) {
    call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    require(call(SYS_getppid) == plan.parent, 1);
    call(SYS_prctl, PR_SET_DUMPABLE, 0);
    call(SYS_prctl, PR_SET_NAME, reinterpret_cast<uint64_t>("kvmsbx-stub"));
    require(call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1) == 0, 10);
    take_descriptors(plan);
    set_signals(plan);
    leave_libc(plan);
    map_stub(plan);
    require(call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, reinterpret_cast<uint64_t>(&plan.filter)) == 0, 11);
    asm volatile("jmp *%0" : : "r"(plan.entry));
    __builtin_unreachable();
}

KVMSBX_BARE int64_t fork_zygote(Plan& plan) {
    int64_t pid = call(SYS_clone, SIGCHLD);
    if (pid == 0) become_zygote(plan);
    return pid;
}

uint64_t rseq_address() {
    if (__rseq_size == 0) return 0;
    // SAFETY: only the address is wanted; glibc says that the area lies there.
    return reinterpret_cast<uint64_t>(__builtin_thread_pointer()) + static_cast<uint64_t>(__rseq_offset);
}

}  // namespace

Result<uint64_t> choose_stub_base() {
    constexpr uint64_t kPlaces = (abi::kStubRangeEnd - abi::kStubSize - abi::kProcessUserEnd) / abi::kStubAlignment;
    for (int attempt = 0; attempt < 64; attempt++) {
        uint64_t random;
        if (getrandom(&random, sizeof random, 0) != sizeof random) return Errno::kIO;
        uint64_t base = abi::kProcessUserEnd + random % kPlaces * abi::kStubAlignment;
        void* at = reinterpret_cast<void*>(base);
        // The code's and orders' pages are mapped while the zygote still runs on the libc's stack.
        void* got = mmap(at, abi::kStubSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (got != MAP_FAILED) munmap(got, abi::kStubSize);
        if (got == at) return base;
    }
    return Errno::kNOMEM;
}

Result<int32_t> start_zygote(const host::Log& log, const ZygoteInput& input) {
    std::vector<sock_filter> filter = base_filter(static_cast<unsigned>(input.wake_fds.size()));
    Plan plan{};
    plan.parent = getpid();
    plan.fds[abi::kStubRamFd] = input.ram_fd;
    plan.fds[abi::kStubCompletionFd] = input.completion_fd;
    plan.fd_count = abi::kStubWakeFd;
    for (int fd : input.wake_fds) plan.fds[plan.fd_count++] = fd;
    plan.code = input.code->bytes.data();
    plan.base = input.code->base;
    plan.entry = input.code->zygote_entry;
    plan.handler = input.code->signal_handler;
    plan.restorer = input.code->signal_restorer;
    plan.orders_offset = input.orders_offset;
    plan.filter = {static_cast<unsigned short>(filter.size()), filter.data()};
    plan.rseq = rseq_address();
    int64_t pid = fork_zygote(plan);
    if (pid < 0)
        return log.fail(Errno{static_cast<int32_t>(-pid)},
                        "cannot fork the first stub process: %s; raise the limit of processes (pids.max of the cgroup, "
                        "ulimit -u)",
                        strerror(static_cast<int>(-pid)));
    return static_cast<int32_t>(pid);
}

}  // namespace kvmsbx::vmm
