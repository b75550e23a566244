# The Sentry's ELF file as read-only data. The build passes its path in SENTRY_ELF.
    .section .rodata.sentry_elf, "a", @progbits
    .balign 4096
    .globl sentry_elf_start, sentry_elf_end
sentry_elf_start:
#ifdef SENTRY_ELF
    .incbin SENTRY_ELF
#endif
sentry_elf_end:
    .byte 0
    .section .note.GNU-stack, "", @progbits
