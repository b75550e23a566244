// Where KVM has no VMX or SVM it interprets an application whose stack pointer is no address (docs/platform.md, section
// 3): nothing is possible there that is not possible elsewhere, and system calls work.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>

#include "tests/guest/isolation/forbidden.hpp"

using namespace guest;

namespace {

constexpr uint64_t kNoAddresses[] = {0x7fffffffffffffff, 0x800000000000, 0x1234567812345678, 0x8000000000000000,
                                     0xffff7fffffffffff};
constexpr uint64_t kLow = 0x10000000, kFresh = 0x20000000;

uint8_t* map_at(uint64_t address, int protection) {
    void* const made =
        mmap(reinterpret_cast<void*>(address), 65536, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(made == reinterpret_cast<void*>(address));
    return static_cast<uint8_t*>(made);
}

// With that stack pointer: a page fault, after which KVM interprets; `code`, with rax = number, and back. Its rax.
uint64_t run_with_stack(uint64_t stack, std::initializer_list<uint8_t> code, uint64_t number) {
    uint8_t* program = map_at(kLow, PROT_READ | PROT_WRITE | PROT_EXEC);
    size_t size = 0;
    for (uint8_t byte : {0xc6, 0x07, 0x01}) program[size++] = byte;  // movb $1, (%rdi)
    for (uint8_t byte : code) program[size++] = byte;
    for (uint8_t byte : {0x41, 0xff, 0xe5}) program[size++] = byte;  // jmp *%r13
    uint8_t* fresh = map_at(kFresh, PROT_READ | PROT_WRITE);
    asm volatile("mov %%rsp, %%r12; lea 1f(%%rip), %%r13; mov %2, %%rsp; jmp *%3; 1: mov %%r12, %%rsp"
                 : "+a"(number), "+D"(fresh)
                 : "r"(stack), "r"(program)
                 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "memory");
    return number;
}

void use_other_stack_for_handlers() {
    static char stack[65536];
    const stack_t other = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
    OK(sigaltstack(&other, nullptr));
}

void leave(int signal, siginfo_t*, void*) { _exit(100 + signal); }

void leave_at(int signal) {
    struct sigaction action {};
    action.sa_sigaction = leave;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    OK(sigaction(signal, &action, nullptr));
}

}  // namespace

TEST("system_calls_with_a_stack_pointer_that_is_no_address") {
    for (uint64_t stack : kNoAddresses)
        for (int i = 0; i < 20; ++i)
            CHECK_EQ(run_with_stack(stack, {0x0f, 0x05}, SYS_getppid), static_cast<uint64_t>(getppid()));
}

TEST("many_system_calls_with_a_stack_pointer_that_is_no_address") {
    // xor %esi, %esi; 1: mov $SYS_getppid, %eax; syscall; inc %esi; cmp $3000, %esi; jne 1b
    for (uint64_t stack : kNoAddresses)
        CHECK_EQ(run_with_stack(stack,
                                {0x31, 0xf6, 0xb8, SYS_getppid, 0, 0, 0, 0x0f, 0x05, 0xff, 0xc6, 0x81, 0xfe, 0xb8, 0x0b,
                                 0, 0, 0x75, 0xef},
                                0),
                 static_cast<uint64_t>(getppid()));
}

TEST("faults_with_a_stack_pointer_that_is_no_address") {
    const struct {
        std::initializer_list<uint8_t> code;
        int signal;
    } cases[] = {{{0x0f, 0x0b}, SIGILL},                          // ud2
                 {{0xf4}, SIGSEGV},                               // hlt
                 {{0xfa}, SIGSEGV},                               // cli
                 {{0xcd, 0x04}, SIGSEGV},                         // int $4
                 {{0x0f, 0x20, 0xd8}, SIGSEGV},                   // mov %cr3, %rax
                 {{0x0f, 0x22, 0xd8}, SIGSEGV},                   // mov %rax, %cr3
                 {{0x0f, 0x01, 0xf8}, SIGSEGV},                   // swapgs
                 {{0xee}, SIGSEGV},                               // out %al, (%dx)
                 {{0x31, 0xc9, 0x31, 0xd2, 0xf7, 0xf1}, SIGFPE},  // div of 0
                 {{0x31, 0xc0, 0x48, 0x8b, 0x00}, SIGSEGV},       // mov (0), %rax
                 {{0x0f, 0x34}, SIGILL}};                         // sysenter
    for (const auto& one : cases)
        for (uint64_t stack : kNoAddresses) {
            const int status = run_child([&] {
                use_other_stack_for_handlers();
                for (int signal : {SIGSEGV, SIGILL, SIGFPE, SIGBUS}) leave_at(signal);
                run_with_stack(stack, one.code, 0);
            });
            // What Linux's SYSENTER is depends on the CPU.
            if (one.code.size() == 2 && *(one.code.begin() + 1) == 0x34) {
                CHECK(WIFEXITED(status) && WEXITSTATUS(status) >= 100);
                continue;
            }
            CHECK_EXITED(status, 100 + one.signal);
        }
}

// The frame lies where the lower 48 bits point to: an interpreter may find it there.
TEST("far_returns_from_there_stay_in_ring3") {
    constexpr uint64_t kHigh = 0x1234000000000000;
    for (uint64_t selector : {0x10, 0x33, 0x08, 0x13})
        for (int word_size : {8, 4}) {
            const int status = run_child([=] {
                use_other_stack_for_handlers();
                for (int signal : {SIGSEGV, SIGILL, SIGBUS}) leave_at(signal);
                uint8_t* stack = map_at(kLow + 0x100000, PROT_READ | PROT_WRITE | PROT_EXEC);
                stack[0x1000] = 0x8c, stack[0x1001] = 0xc8;                        // mov %cs, %eax
                stack[0x1002] = 0x41, stack[0x1003] = 0xff, stack[0x1004] = 0xe5;  // jmp *%r13
                const uint64_t frame[5] = {kLow + 0x101000, selector, 0x202, kHigh | (kLow + 0x108000),
                                           selector == 0x33 ? 0x2bul : 0x18};
                for (int i = 0; i < 5; ++i) memcpy(stack + 0x8000 + i * word_size, &frame[i], word_size);
                const uint64_t at = kHigh | (kLow + 0x108000);
                const uint64_t got =
                    word_size == 8 ? run_with_stack(at, {0x48, 0xcf}, 0) : run_with_stack(at, {0xcf}, 0);
                _exit(static_cast<int>(got & 3));
            });
            CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 3 || WEXITSTATUS(status) >= 100));
        }
}

TEST("a_loop_there_leaves_the_cpu_to_others") {
    const pid_t child = OK(fork());
    if (child == 0) {
        run_with_stack(kNoAddresses[0], {0xeb, 0xfe}, 0);  // jmp .
        _exit(1);
    }
    for (int i = 0; i < 20; ++i) CHECK_EXITED(run_child([] { _exit(5); }), 5);
    OK(kill(child, SIGKILL));
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_SIGNALED(status, SIGKILL);
}

// What trapped as one instruction may be another when somebody looks: SYSCALL, for one, which KVM could execute then.
TEST("an_instruction_that_changes_while_it_traps") {
    static volatile uint16_t* code;
    static volatile bool stop;
    uint8_t* const page = map_at(kLow, PROT_READ | PROT_WRITE | PROT_EXEC);
    page[2] = 0xc3;  // ret
    code = reinterpret_cast<volatile uint16_t*>(page);
    *code = 0x0b0f;
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
    };
    action.sa_flags = SA_SIGINFO;
    OK(sigaction(SIGILL, &action, nullptr));
    pthread_t writer;
    const auto write = [](void*) -> void* {
        while (!stop)
            for (uint16_t instruction : {0x050f, 0x0b0f}) {
                *code = instruction;
                for (int i = 0; i < 20; ++i) __builtin_ia32_pause();
            }
        return nullptr;
    };
    CHECK_EQ(pthread_create(&writer, nullptr, write, nullptr), 0);
    const uint64_t parent = getppid();
    for (int i = 0; i < 5000; ++i) {
        uint64_t result = SYS_getppid;
        asm volatile("call *%1" : "+a"(result) : "r"(page) : "rcx", "r11", "memory");
        CHECK(result == SYS_getppid || result == parent);
    }
    stop = true;
    pthread_join(writer, nullptr);
}
