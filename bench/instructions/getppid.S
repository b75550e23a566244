// What is counted: 300 getppid calls, with labels before and after. No libc, at an address of its own (see the run script), so that nothing else in the
// machine executes there.
        .globl _start, before_call, after_call
_start: mov     $300, %ebx
again:  mov     $110, %eax
before_call:
        syscall
after_call:
        dec     %ebx
        jnz     again
        mov     $231, %eax
        xor     %edi, %edi
        syscall
