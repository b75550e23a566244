#include "tests/fuzz/calls/hostile_code.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstring>
#include <initializer_list>

namespace calls {

long raw_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    register uint64_t r10 asm("r10") = d;
    register uint64_t r8 asm("r8") = e;
    register uint64_t r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

[[gnu::noinline]] long clone_on_stack(uint64_t flags, uint64_t stack, void (*body)(World*), World* argument) {
    register uint64_t r10 asm("r10") = kWork + 128;
    register uint64_t r8 asm("r8") = 0;
    register World* r12 asm("r12") = argument;
    register void (*r13)(World*) asm("r13") = body;
    long result;
    asm volatile(
        "syscall\n\t"
        "test %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xor %%ebp, %%ebp\n\t"
        "mov %%r12, %%rdi\n\t"
        "call *%%r13\n\t"
        "ud2\n"
        "1:"
        : "=a"(result)
        : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(kWork + 64), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
        : "rcx", "r11", "memory");
    return result;
}

void sigreturn_at(uint64_t stack) {
    asm volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall\n\tud2" : : "r"(stack) : "memory");
}

namespace {

struct Piece {
    unsigned char size, bytes[15];
};

// One after the other, as a random program. Some need what is in the registers, which is random as well.
constexpr Piece kPieces[] = {
    {2, {0x0f, 0x05}},                                      // syscall
    {2, {0x0f, 0x34}},                                      // sysenter
    {2, {0xcd, 0x80}},                                      // int $0x80
    {2, {0xcd, 0x03}},                                      // int $3
    {2, {0xcd, 0x04}},                                      // int $4
    {2, {0xcd, 0x20}},                                      // int $0x20
    {2, {0xcd, 0xf0}},                                      // int $0xf0
    {2, {0xcd, 0x02}},                                      // int $2
    {2, {0xcd, 0x08}},                                      // int $8
    {2, {0xcd, 0x0e}},                                      // int $14
    {1, {0xcc}},                                            // int3
    {1, {0xf1}},                                            // int1
    {2, {0x0f, 0x0b}},                                      // ud2
    {1, {0xf4}},                                            // hlt
    {1, {0xfa}},                                            // cli
    {1, {0xfb}},                                            // sti
    {1, {0xec}},                                            // in (%dx), %al
    {1, {0xee}},                                            // out %al, (%dx)
    {2, {0x0f, 0x32}},                                      // rdmsr
    {2, {0x0f, 0x30}},                                      // wrmsr
    {3, {0x0f, 0x20, 0xd8}},                                // mov %cr3, %rax
    {3, {0x0f, 0x22, 0xd8}},                                // mov %rax, %cr3
    {3, {0x0f, 0x23, 0xf8}},                                // mov %rax, %dr7
    {3, {0x0f, 0x01, 0xd9}},                                // vmmcall
    {3, {0x0f, 0x01, 0xc1}},                                // vmcall
    {3, {0x0f, 0x01, 0xf8}},                                // swapgs
    {2, {0x48, 0xcf}},                                      // iretq
    {1, {0xcf}},                                            // iret
    {3, {0x48, 0x0f, 0x07}},                                // sysretq
    {2, {0x48, 0xcb}},                                      // lretq
    {2, {0x8e, 0xd8}},                                      // mov %eax, %ds
    {2, {0x8e, 0xd0}},                                      // mov %eax, %ss
    {2, {0x8e, 0xe8}},                                      // mov %eax, %gs
    {3, {0x0f, 0x00, 0xd8}},                                // ltr
    {3, {0x0f, 0x01, 0x10}},                                // lgdt (%rax)
    {3, {0x0f, 0x01, 0x00}},                                // sgdt (%rax)
    {5, {0xf3, 0x48, 0x0f, 0xae, 0xd0}},                    // wrfsbase %rax
    {5, {0xf3, 0x48, 0x0f, 0xae, 0xd8}},                    // wrgsbase %rax
    {3, {0x0f, 0xae, 0x10}},                                // ldmxcsr (%rax)
    {3, {0x0f, 0xae, 0x28}},                                // xrstor (%rax)
    {3, {0x0f, 0xae, 0x20}},                                // xsave (%rax)
    {3, {0x0f, 0x01, 0xd1}},                                // xsetbv
    {3, {0x48, 0xf7, 0xf1}},                                // div %rcx
    {2, {0xff, 0xe0}},                                      // jmp *%rax
    {2, {0xff, 0xd0}},                                      // call *%rax
    {3, {0x48, 0x89, 0xc4}},                                // mov %rax, %rsp
    {2, {0x50, 0x9d}},                                      // push %rax; popf
    {7, {0x68, 0x00, 0x01, 0x00, 0x00, 0x9d, 0x90}},        // push $0x100 (TF); popf; nop
    {7, {0x68, 0x00, 0x40, 0x04, 0x00, 0x9d, 0x90}},        // push $0x44000 (NT, AC); popf; nop
    {8, {0x68, 0x00, 0x01, 0x00, 0x00, 0x9d, 0x0f, 0x05}},  // the same flag over a syscall
    {3, {0x48, 0x8b, 0x00}},                                // mov (%rax), %rax
    {3, {0x48, 0x89, 0x00}},                                // mov %rax, (%rax)
    {2, {0xf3, 0xa4}},                                      // rep movsb
    {3, {0x0f, 0x18, 0x00}},                                // prefetch
    {2, {0x0f, 0x08}},                                      // invd
    {3, {0x0f, 0x01, 0x38}},                                // invlpg (%rax)
    {4, {0x66, 0x66, 0x66, 0x66}},                          // prefixes
    {2, {0xdb, 0xe3}},                                      // fninit
    {4, {0xd9, 0xee, 0xde, 0xf9}},                          // fldz; fdivrp
    {1, {0x9b}},                                            // fwait
    {3, {0xc6, 0x07, 0x01}},                                // movb $1, (%rdi): a page fault
};

// Random registers, some of them addresses, then the program.
[[noreturn]] void jump_to(World& world, uint64_t code, uint64_t stack) {
    uint64_t values[8];
    for (uint64_t& value : values)
        value = world.random.below(2)     ? any_number(world.random)
                : one_in(world.random, 3) ? bad_pointer(world.random)
                                          : kWork + world.random.below(4000);
    asm volatile(
        "mov 0(%0), %%rax\n\tmov 16(%0), %%rdx\n\tmov 24(%0), %%rsi\n\tmov 32(%0), %%rdi\n\tmov 40(%0), %%r10\n\t"
        "mov 48(%0), %%r8\n\tmov 56(%0), %%r9\n\tmov %2, %%rsp\n\tmov 8(%0), %%rcx\n\tjmp *%1"
        :
        : "b"(values), "r"(code), "r"(stack)
        : "memory");
    __builtin_unreachable();
}

void scribble(World* world) {
    constexpr uint64_t kLastPage = 0x7ffffffff000;
    for (unsigned i = 0; i < 20000; i++) {
        const uint64_t value = one_in(world->random, 3) ? any_number(world->random) : world->random.below(6);
        *(volatile uint64_t*)(kLastPage + 8 * world->random.below(64)) = value;
    }
    for (;;) call(SYS_exit, 0);
}

}  // namespace

void hostile_instructions(World& world) {
    // A page that ends in nothing: the last instruction can be cut.
    constexpr uint64_t kCode = kFree + kFreeSize + 0x100000;
    call(SYS_mmap, kCode, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    call(SYS_munmap, kCode + 4096, 4096);
    // Handlers that do nothing would go on at the same instruction: let each end it.
    for (const int signal : {SIGSEGV, SIGILL, SIGTRAP, SIGFPE, SIGBUS}) {
        const uint64_t nothing[4] = {};
        call(SYS_rt_sigaction, signal, nothing, 0, 8);
    }
    auto* code = (uint8_t*)kCode + 4096 - 64;
    memset(code, 0x90, 64);
    for (size_t at = 0; at < 60;) {
        const Piece& piece = kPieces[world.random.below(sizeof kPieces / sizeof kPieces[0])];
        memcpy(code + at, piece.bytes, piece.size < 64 - at ? piece.size : 64 - at);
        at += piece.size + world.random.below(30);
    }
    if (one_in(world.random, 8))
        for (unsigned i = 0; i < 64; i++) code[i] = world.random.next();
    const uint64_t no_address = (world.random.next() << 48 ^ 1ULL << 47) | kWork;
    jump_to(world, (uint64_t)code,
            one_in(world.random, 3)   ? bad_pointer(world.random)
            : one_in(world.random, 3) ? no_address + 0x8000
                                      : kWork + 0x8000);
}

void scribble_above_user_memory(World& world) {
    // Many calls come first: such a page may be made for those who make many.
    for (unsigned i = 0; i < 3000; i++) call(SYS_getppid);
    World its = world;
    its.random = Random(world.random.next());
    clone_on_stack(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
                   kStacks + kStackSize, scribble, &its);
    for (unsigned i = 0; i < 3000; i++) call(i % 7 ? SYS_getppid : SYS_sched_yield);
    run_operations(world, 100);
}

}  // namespace calls
