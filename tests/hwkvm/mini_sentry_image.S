    .section .rodata
    .globl mini_sentry_image, mini_sentry_image_end
    .balign 16
mini_sentry_image:
    .incbin MINI_SENTRY_FILE
mini_sentry_image_end:
    .section .note.GNU-stack, "", @progbits
