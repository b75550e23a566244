// The switch of kernel stacks: Boost.Context's fcontext (sched/fcontext.hpp) without the FPU. Boost's own loads MXCSR
// and the x87 control word, which are the application's while the Sentry runs: with an x87 exception pending, that is
// #MF.
//
// A context is a stack pointer: above it lie r12 to r15, rbx, rbp and the address to go on at.

// SAFETY: keeps what the ABI wants kept across a call, and uses nothing of the stacks but those 7 words.
asm(R"(
    .pushsection .text
    .balign 16
    .globl jump_fcontext
    .type jump_fcontext, @function
jump_fcontext:  # rdi: where to, rsi: data. Gives, there, the context that was left and the data
    push %rbp
    push %rbx
    push %r15
    push %r14
    push %r13
    push %r12
    mov %rsp, %rax
    mov %rdi, %rsp
    pop %r12
    pop %r13
    pop %r14
    pop %r15
    pop %rbx
    pop %rbp
    pop %rcx
    mov %rsi, %rdx  # returned in rax and rdx,
    mov %rax, %rdi  # and to a function that begins, in rdi and rsi
    jmp *%rcx
    .size jump_fcontext, . - jump_fcontext

    .balign 16
    .globl make_fcontext
    .type make_fcontext, @function
make_fcontext:  # rdi: the stack's end, rdx: the function, which must not return
    and $-16, %rdi
    lea -64(%rdi), %rax
    movq $0, 40(%rax)  # rbp: backtraces end here
    mov %rdx, 48(%rax)
    movq $0, 56(%rax)  # the function's return address
    ret
    .size make_fcontext, . - make_fcontext
    .popsection
)");
