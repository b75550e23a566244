#include "tests/guest/isolation/stub_attack.hpp"

using namespace guest;

namespace {

struct Own {
    abi::RunnerControl control;
    ucontext_t context;
};

}  // namespace

extern "C" void enter_stub(Own* own, uint64_t call, const uint64_t* number_and_arguments);
static_assert(REG_RBP == 10 && REG_RSP == 15 && REG_RIP == 16 && kGregs == 40);
asm(R"(
    .pushsection .text
    .globl enter_stub
    .type enter_stub, @function
enter_stub:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rdi, %rbx
    mov %rsp, 256+40+8*15(%rbx)
    lea 1f(%rip), %rcx
    mov %rcx, 256+40+8*16(%rbx)
    mov %rsi, %r11
    mov %rdx, %rcx
    mov (%rcx), %rax
    mov 8(%rcx), %rdi
    mov 16(%rcx), %rsi
    mov 24(%rcx), %rdx
    mov 32(%rcx), %r10
    mov 40(%rcx), %r8
    mov 48(%rcx), %r9
    jmp *%r11
1:  pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size enter_stub, . - enter_stub
    .popsection
)");

void guest::call_by_stub(const FoundStub& stub, const uint64_t (&call)[7], uint64_t mask) {
    Own own;
    memset(&own, 0, sizeof own);
    own.control.resume_context = reinterpret_cast<uint64_t>(&own.context);
    own.context.uc_flags = 6;  // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    own.context.uc_mcontext.gregs[REG_CSGSFS] = 0x002b'0000'0000'0033;
    own.context.uc_mcontext.gregs[REG_EFL] = 0x202;
    memcpy(reinterpret_cast<char*>(&own.context) + kMask, &mask, sizeof mask);
    // Its alternate stack has no size: that is an error, and the thread's stays as it is.
    enter_stub(&own, stub.call, call);
}
