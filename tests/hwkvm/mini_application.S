# Ring-3 code that the mini Sentry maps at kApplicationCode and enters at these labels (offsets from application_start). Position independent.
    .section .rodata
    .balign 4096
    .globl application_start, application_end
application_start:

    .macro entry name
    .balign 16
    .globl \name
\name:
    .endm

entry app_registers               # r15..rdi hold patterns set by the Sentry
    syscall
    syscall                       # again with whatever came back
    ud2
entry app_flags                   # CF and DF set
    std
    stc
    syscall
    cld
    ud2
entry app_loop                    # rbx times
    mov $110, %eax
    syscall
    dec %rbx
    jnz app_loop
    ud2
entry app_single_step             # TF over a system call
    pushf
    orq $0x100, (%rsp)
    popf
    nop
    syscall
    nop
    ud2
entry app_read
    mov (%rdi), %rax
    ud2
entry app_write
    mov %rax, (%rdi)
    ud2
entry app_jump
    jmp *%rdi
entry app_int3
    int3
    ud2
entry app_int4
    int $4
    ud2
entry app_int80
    int $0x80
    ud2
entry app_int40
    int $0x40
    ud2
entry app_cli
    cli
    ud2
entry app_sti
    sti
    ud2
entry app_hlt
    hlt
    ud2
entry app_in
    mov $0x60, %edx
    in %dx, %al
    ud2
entry app_out
    mov $0xf0, %edx
    out %al, %dx
    ud2
entry app_mov_cr3
    mov %rax, %cr3
    ud2
entry app_read_cr0
    mov %cr0, %rax
    ud2
entry app_wrmsr
    mov $0xc0000082, %ecx
    wrmsr
    ud2
entry app_lgdt
    lgdt (%rsp)
    ud2
entry app_divide
    xor %edx, %edx
    xor %ecx, %ecx
    div %ecx
    ud2
entry app_ud2
    ud2
entry app_far_jump                # to a 32-bit code segment
    push $0x23
    lea app_ud2(%rip), %rax
    push %rax
    lretq
entry app_kernel_return           # iretq to ring 0
    push $0x18
    push %rsp
    pushf
    push $0x10
    lea app_ud2(%rip), %rax
    push %rax
    iretq
entry app_iopl                    # POPF cannot change IOPL nor IF
    pushf
    orq $0x3000, (%rsp)
    andq $~0x200, (%rsp)
    popf
    pushf
    pop %rax
    syscall
    ud2
entry app_spin
1:  inc %rbx
    jmp 1b
entry app_set_xmm
    movq %rdi, %xmm3
    movq %rdi, %xmm15
    syscall
    movq %xmm3, %rax
    movq %xmm15, %rbx
    syscall
    ud2
entry app_rdtscp
    rdtscp
    mov %rcx, %rbx
    syscall
    ud2
entry app_wrpkru                  # deny everything to key 0, where the CPU has keys
    xor %ecx, %ecx
    xor %edx, %edx
    mov $0xfffffffc, %eax
    .byte 0x0f, 0x01, 0xef
    syscall
    xor %eax, %eax
    xor %ecx, %ecx
    xor %edx, %edx
    .byte 0x0f, 0x01, 0xef
    syscall
    ud2
entry app_fsbase
    wrfsbase %rdi
    rdfsbase %rax
    syscall
    ud2
    .balign 4096
application_end:
    .section .note.GNU-stack, "", @progbits
