# The Sentry's ELF files as read-only data. The build passes their paths in SENTRY_ELF and SENTRY_PROCESS_ELF.
    .section .rodata.sentry_elf, "a", @progbits
    .balign 4096
    .globl sentry_elf_start, sentry_elf_end
sentry_elf_start:
#ifdef SENTRY_ELF
    .incbin SENTRY_ELF
#endif
sentry_elf_end:
    .byte 0

    .section .rodata.process_sentry_elf, "a", @progbits
    .balign 4096
    .globl process_sentry_elf_start, process_sentry_elf_end
process_sentry_elf_start:
#ifdef SENTRY_PROCESS_ELF
    .incbin SENTRY_PROCESS_ELF
#endif
process_sentry_elf_end:
    .byte 0
    .section .note.GNU-stack, "", @progbits
