// Many system calls in quick succession: the sandbox may then serve them without a trap (common/abi/mailbox.hpp), and
// nothing of that may show: registers, flags, signals, tracing, the end of a process.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>

#include "common/abi/mailbox.hpp"
#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace abi = kvmsbx::abi;

namespace {

constexpr int kMany = 20'000;
constexpr uint64_t kLowerHalf = 1ULL << 47;

long raw_call(long number) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}

// Calls until it is killed.
[[noreturn]] void call_forever() {
    for (;;) raw_call(SYS_getppid);
}

uint64_t random_state = 88172645463325252ULL;
uint64_t next_random() {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return random_state;
}

}  // namespace

TEST("registers_and_flags_survive_many_calls") {
    // What SYSCALL and SYSRET leave: all registers but rax, rcx (rip) and r11 (rflags); the flags.
    for (uint64_t flags : {0x202ul, 0xad7ul, 0x602ul, 0x283ul, 0x40202ul, 0x200246ul}) {  // arithmetic, DF, AC, ID
        for (int i = 0; i < kMany / 4; i++) {
            struct {
                uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags, rip;
            } out{};
            const uint64_t seed = 0x1111'2222'3333'4444ULL * (static_cast<uint64_t>(i) + 1);
            out.rbx = seed;
            out.flags = flags;
            void* block = &out;
            asm volatile(
                "push %%rbx; push %%rbp; push %%rax; push 120(%%rax)\n"
                "mov 8(%%rax), %%rbx; lea 1(%%rbx), %%rdx; lea 2(%%rbx), %%rsi; lea 3(%%rbx), %%rdi\n"
                "lea 4(%%rbx), %%rbp; lea 5(%%rbx), %%r8; lea 6(%%rbx), %%r9; lea 7(%%rbx), %%r10\n"
                "lea 8(%%rbx), %%r12; lea 9(%%rbx), %%r13; lea 10(%%rbx), %%r14; lea 11(%%rbx), %%r15\n"
                "mov $110, %%eax; popfq; syscall\n"
                "1: pushfq; push %%rbx; push $2; popfq; mov 16(%%rsp), %%rbx\n"
                "mov %%rax, 0(%%rbx); mov %%rcx, 16(%%rbx); mov %%rdx, 24(%%rbx); mov %%rsi, 32(%%rbx)\n"
                "mov %%rdi, 40(%%rbx); mov %%rbp, 48(%%rbx); mov %%r8, 56(%%rbx); mov %%r9, 64(%%rbx)\n"
                "mov %%r10, 72(%%rbx); mov %%r11, 80(%%rbx); mov %%r12, 88(%%rbx); mov %%r13, 96(%%rbx)\n"
                "mov %%r14, 104(%%rbx); mov %%r15, 112(%%rbx)\n"
                "pop %%rax; mov %%rax, 8(%%rbx); pop %%rax; mov %%rax, 120(%%rbx); lea 1b(%%rip), %%rax\n"
                "mov %%rax, 128(%%rbx); pop %%rax; pop %%rbp; pop %%rbx"
                : "+a"(block)
                :
                : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
            CHECK_EQ(out.rax, getppid());
            CHECK_EQ(out.rbx, seed);
            const uint64_t kept[] = {out.rdx, out.rsi, out.rdi, out.rbp, out.r8, out.r9,
                                     out.r10, out.r12, out.r13, out.r14, out.r15};
            for (size_t at = 0; at < sizeof kept / sizeof kept[0]; at++) CHECK_EQ(kept[at], seed + at + 1);
            CHECK_EQ(out.rcx, out.rip);
            CHECK_EQ(out.flags, flags);
            CHECK_EQ(out.r11, flags);
        }
    }
}

TEST("floating_point_survives_many_calls") {
    double sum = 0;
    for (int i = 0; i < kMany; i++) {
        double kept = i * 0.5;
        asm volatile("syscall" : "+x"(kept) : "a"(SYS_getppid) : "rcx", "r11", "memory");
        sum += kept;
    }
    CHECK(sum == 0.25 * kMany * (kMany - 1));
}

TEST("signals_among_many_calls") {
    // A handler sees the application's own address and registers, wherever the call was when the signal came.
    static volatile sig_atomic_t signals, strange;
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        if (static_cast<uint64_t>(registers[REG_RIP]) >= kLowerHalf || registers[REG_R12] != 0x1234567 ||
            static_cast<uint64_t>(registers[REG_RSP]) >= abi::kMailboxPage)
            strange = strange + 1;
        signals = signals + 1;
    };
    OK(sigaction(SIGALRM, &action, nullptr));
    const itimerval often{{0, 300}, {0, 300}};
    OK(setitimer(ITIMER_REAL, &often, nullptr));
    const pid_t parent = getppid();
    const uint64_t end = now_ns() + 1'500'000'000;
    while (now_ns() < end)
        for (int i = 0; i < 200; i++) {
            long result;
            asm volatile("mov $0x1234567, %%r12; mov $110, %%eax; syscall; .rept 64; nop; .endr"
                         : "=a"(result)
                         :
                         : "rcx", "r11", "r12", "memory");
            CHECK_EQ(result, parent);
            asm volatile("mov $0x1234567, %%r12" ::: "r12");
        }
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    CHECK_GT(signals, 100);
    // Some come between the two blocks, where r12 is the compiler's.
    CHECK_LT(strange * 4, signals);
}

TEST("a_handler_never_runs_in_the_kernel_half") {
    static volatile sig_atomic_t signals;
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        if (static_cast<uint64_t>(registers[REG_RIP]) >= kLowerHalf) _exit(1);
        if (static_cast<uint64_t>(registers[REG_RSP]) >= abi::kMailboxPage) _exit(2);
        signals = signals + 1;
    };
    OK(sigaction(SIGUSR1, &action, nullptr));
    const pid_t caller = getpid();
    const pid_t sender = OK(fork());
    if (sender == 0) {
        for (int i = 0; i < 2000; i++) {
            kill(caller, SIGUSR1);
            for (uint64_t wait = next_random() % 4000; wait > 0; wait--) asm volatile("pause");
        }
        _exit(0);
    }
    const pid_t parent = getppid();
    int status = 0;
    do
        for (int i = 0; i < 100; i++) CHECK_EQ(raw_call(SYS_getppid), parent);
    while (waitpid(sender, &status, WNOHANG) == 0);
    CHECK_EXITED(status, 0);
    CHECK_GT(signals, 10);
}

TEST("threads_get_their_own_answers") {
    auto body = [](void*) -> void* {
        const long tid = raw_call(SYS_gettid);
        for (int i = 0; i < kMany; i++)
            if (raw_call(SYS_gettid) != tid) return reinterpret_cast<void*>(1);
        return nullptr;
    };
    pthread_t threads[4];
    for (pthread_t& thread : threads) CHECK_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
    for (pthread_t& thread : threads) {
        void* result;
        CHECK_EQ(pthread_join(thread, &result), 0);
        CHECK_EQ(result, nullptr);
    }
}

TEST("calls_that_block_among_calls_that_do_not") {
    int there[2], back[2];
    OK(pipe(there));
    OK(pipe(back));
    const pid_t child = OK(fork());
    if (child == 0) {
        for (uint32_t value; read(there[0], &value, sizeof value) == sizeof value;) {
            if (value == ~0U) _exit(0);
            ++value;
            if (write(back[1], &value, sizeof value) != sizeof value) _exit(1);
            if (value % 64 == 0) usleep(100);
        }
        _exit(2);
    }
    for (uint32_t i = 0; i < 3000; i++) {
        for (uint64_t calls = next_random() % 40; calls > 0; calls--) raw_call(SYS_getppid);
        uint32_t answer = 0;
        CHECK_EQ(write(there[1], &i, sizeof i), sizeof i);
        CHECK_EQ(read(back[0], &answer, sizeof answer), sizeof answer);
        CHECK_EQ(answer, i + 1);
    }
    const uint32_t end = ~0U;
    CHECK_EQ(write(there[1], &end, sizeof end), sizeof end);
    int status;
    OK(waitpid(child, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("interrupted_reads_among_many_calls") {
    // A signal ends a read that blocks, with SA_RESTART it goes on, however the read came in.
    int ends[2];
    OK(pipe(ends));
    struct sigaction action {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGALRM, &action, nullptr));
    for (int i = 0; i < 50; i++) {
        for (int calls = 0; calls < 200; calls++) raw_call(SYS_getppid);
        const itimerval soon{{0, 500}, {0, 500}};  // the first may come before the read
        OK(setitimer(ITIMER_REAL, &soon, nullptr));
        char byte;
        CHECK_ERRNO(read(ends[0], &byte, 1), EINTR);
    }
}

TEST("killing_one_that_calls") {
    for (int i = 0; i < 60; i++) {
        const pid_t child = OK(fork());
        if (child == 0) call_forever();
        usleep(static_cast<useconds_t>(next_random() % 4000));
        OK(kill(child, SIGKILL));
        int status;
        OK(waitpid(child, &status, 0));
        CHECK_SIGNALED(status, SIGKILL);
    }
}

TEST("exit_group_while_threads_call") {
    for (int i = 0; i < 40; i++) {
        int status = run_child([] {
            for (int n = 0; n < 2; n++) {
                pthread_t thread;
                pthread_create(
                    &thread, nullptr, [](void*) -> void* { call_forever(); }, nullptr);
            }
            usleep(static_cast<useconds_t>(next_random() % 3000));
            _exit(7);
        });
        CHECK_EXITED(status, 7);
    }
}

TEST("exec_while_a_thread_calls") {
    for (int i = 0; i < 10; i++) {
        int status = run_child([] {
            pthread_t thread;
            pthread_create(
                &thread, nullptr, [](void*) -> void* { call_forever(); }, nullptr);
            for (int calls = 0; calls < 500; calls++) raw_call(SYS_getppid);
            execl("/proc/self/exe", "isolation", "--list", static_cast<char*>(nullptr));
            _exit(1);
        });
        CHECK(WIFEXITED(status));
        CHECK_NE(WEXITSTATUS(status), 1);
    }
}

TEST("mappings_change_while_a_thread_calls") {
    static volatile bool stop;
    pthread_t thread;
    auto caller = [](void*) -> void* {
        const long parent = raw_call(SYS_getppid);
        while (!stop)
            if (raw_call(SYS_getppid) != parent) return reinterpret_cast<void*>(1);
        return nullptr;
    };
    CHECK_EQ(pthread_create(&thread, nullptr, caller, nullptr), 0);
    for (int i = 0; i < 2000; i++) {
        void* area = mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK_NE(area, MAP_FAILED);
        memset(area, i, 1 << 16);
        OK(mprotect(area, 1 << 15, PROT_READ));
        OK(munmap(area, 1 << 16));
    }
    stop = true;
    void* result;
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ(result, nullptr);
}

TEST("a_debugger_sees_one_that_calls") {
    const pid_t child = OK(fork());
    if (child == 0) call_forever();
    usleep(3000);
    OK(ptrace(PTRACE_SEIZE, child, nullptr, nullptr));
    for (int i = 0; i < 100; i++) {
        OK(ptrace(PTRACE_INTERRUPT, child, nullptr, nullptr));
        int status;
        OK(waitpid(child, &status, 0));
        CHECK(WIFSTOPPED(status));
        user_regs_struct registers;
        OK(ptrace(PTRACE_GETREGS, child, nullptr, &registers));
        CHECK_LT(registers.rip, kLowerHalf);
        CHECK_LT(registers.rsp, abi::kMailboxPage);
        for (int steps = 0; steps < 3; steps++) {
            OK(ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr));
            OK(waitpid(child, &status, 0));
            CHECK(WIFSTOPPED(status));
            OK(ptrace(PTRACE_GETREGS, child, nullptr, &registers));
            CHECK_LT(registers.rip, kLowerHalf);
        }
        OK(ptrace(PTRACE_CONT, child, nullptr, nullptr));
        usleep(static_cast<useconds_t>(next_random() % 1500));
    }
    OK(kill(child, SIGKILL));
    int status;
    OK(waitpid(child, &status, 0));
}

TEST("a_forged_mailbox_harms_its_own_process_only") {
    // Natively nothing is at that address. In the sandbox a process that makes many calls may find its mailbox there:
    // whatever it writes into it, others get the right answers, and the process can be ended.
    const pid_t forger = OK(fork());
    if (forger == 0) {
        alarm(15);
        pthread_t thread;
        pthread_create(
            &thread, nullptr, [](void*) -> void* { call_forever(); }, nullptr);
        usleep(5000);
        auto* words = reinterpret_cast<volatile uint32_t*>(abi::kMailboxPage);
        for (;;) {
            const uint64_t random = next_random();
            const size_t box = (random >> 8) % 2 * (sizeof(abi::Mailbox) / 4), field = (random >> 16) % 32;
            words[box + field] = field == 0 ? random % 6 : static_cast<uint32_t>(random >> 32);
        }
    }
    const pid_t parent = getppid();
    const uint64_t end = now_ns() + 1'000'000'000;
    while (now_ns() < end)
        for (int i = 0; i < 100; i++) CHECK_EQ(raw_call(SYS_getppid), parent);
    kill(forger, SIGKILL);
    int status;
    OK(waitpid(forger, &status, 0));
    CHECK(WIFSIGNALED(status));
}

TEST("the_mailbox_is_no_memory_of_the_application") {
    for (int i = 0; i < kMany; i++) raw_call(SYS_getppid);
    char byte = 0;
    int ends[2];
    OK(pipe(ends));
    void* page = reinterpret_cast<void*>(abi::kMailboxPage);
    CHECK_ERRNO(write(ends[1], page, 1), EFAULT);
    OK(write(ends[1], &byte, 1));
    CHECK_ERRNO(read(ends[0], page, 1), EFAULT);
    CHECK_ERRNO(munmap(page, 4096), EINVAL);
    CHECK_ERRNO(mprotect(page, 4096, PROT_READ), ENOMEM);
    CHECK_ERRNO(madvise(page, 4096, MADV_DONTNEED), ENOMEM);
    CHECK_EQ(mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
    CHECK_EQ(errno, ENOMEM);
}

TEST("jumps_into_the_stub_after_many_calls") {
    // As a jump there is at most a system call or a fault, also while the mailbox is in use.
    for (unsigned offset = 0; offset < abi::kStubEnd + 8; offset++) {
        int status = run_child([=] {
            const itimerval limit{{0, 0}, {0, 300'000}};  // it may go on in the loop, with these registers
            setitimer(ITIMER_REAL, &limit, nullptr);
            for (int i = 0; i < 400; i++) raw_call(SYS_getppid);
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
