/* The files of the demo model, page aligned, read-only. FATHOM_DEMO_DIR comes from CMake. */
#define EMBED(symbol, path)                  \
    .balign 4096;                            \
    .globl fathom_demo_##symbol##_begin;     \
    .globl fathom_demo_##symbol##_end;       \
    fathom_demo_##symbol##_begin:            \
    .incbin path;                            \
    fathom_demo_##symbol##_end:              \
    .byte 0

    .section .rodata
EMBED(config, FATHOM_DEMO_DIR "/config.json")
EMBED(generation_config, FATHOM_DEMO_DIR "/generation_config.json")
EMBED(tokenizer, FATHOM_DEMO_DIR "/tokenizer.json")
EMBED(tokenizer_config, FATHOM_DEMO_DIR "/tokenizer_config.json")
EMBED(model, FATHOM_DEMO_DIR "/model.safetensors")

    .section .note.GNU-stack,"",%progbits
