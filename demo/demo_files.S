/* The files of the demo model, page aligned, read-only. CMake gives the assembler their folder. */
#define EMBED(symbol, path)                  \
    .balign 4096;                            \
    .globl fathom_demo_##symbol##_begin;     \
    .globl fathom_demo_##symbol##_end;       \
    fathom_demo_##symbol##_begin:            \
    .incbin path;                            \
    fathom_demo_##symbol##_end:              \
    .byte 0

    .section .rodata
EMBED(config, "config.json")
EMBED(generation_config, "generation_config.json")
EMBED(tokenizer, "tokenizer.json")
EMBED(tokenizer_config, "tokenizer_config.json")
EMBED(model, "model.safetensors")

    .section .note.GNU-stack,"",%progbits
