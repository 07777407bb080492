/* C interface of the text crate. Every function catches panics. Functions that can fail return null
 * or a negative number and leave a message in ft_error(), per thread. Strings are UTF-8 with a length,
 * not zero terminated. Buffers that come out are given back with ft_buffer_free. Handles are immutable
 * after creation: any thread may use them. */
#ifndef FATHOM_TEXT_H
#define FATHOM_TEXT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ft_buffer {
  uint8_t* data;
  size_t size;
  size_t capacity;
} ft_buffer;
void ft_buffer_free(ft_buffer buffer);

/* Message of the last failure on this thread; valid until the next call on it. */
const char* ft_error(size_t* size);

/* tokenizer.json, and tokenizer_config.json (may be empty), whose added_tokens_decoder overrides. */
typedef struct ft_tokenizer ft_tokenizer;
ft_tokenizer* ft_tokenizer_load(const char* json, size_t json_size, const char* config,
                                size_t config_size);
void ft_tokenizer_free(ft_tokenizer* tokenizer);
/* All tokens: for each a record {uint32 id, uint32 flags, uint32 length, bytes}. Flag 1: special,
 * flag 2: an added token. Bytes are those of running text. */
int ft_tokenizer_tokens(const ft_tokenizer* tokenizer, ft_buffer* out);
/* Ids as uint32; no special tokens are added. */
int ft_tokenizer_encode(const ft_tokenizer* tokenizer, const char* text, size_t size, ft_buffer* out);

/* Jinja. bos and eos become variables of every rendering. */
typedef struct ft_template ft_template;
ft_template* ft_template_compile(const char* source, size_t size, const char* bos, size_t bos_size,
                                 const char* eos, size_t eos_size);
void ft_template_free(ft_template* compiled);
/* context: a JSON object. */
int ft_template_render(const ft_template* compiled, const char* context, size_t size, ft_buffer* out);

typedef struct ft_regex ft_regex;
ft_regex* ft_regex_compile(const char* pattern, size_t size);
void ft_regex_free(ft_regex* regex);
/* 1 and the byte range of the leftmost match, 0 if there is none. */
int ft_regex_find(const ft_regex* regex, const char* text, size_t size, size_t* begin, size_t* end);

/* Grammars (llguidance): which tokens may come next. An environment is a vocabulary made ready; any
 * thread may compile against it. The tokens eos end an output. whitespace: a regular expression for
 * what may stand between the parts of JSON (empty: up to 20 blanks); compact: ", " and ": " alone. A
 * compilation that takes longer than most_seconds fails. */
typedef struct ft_grammar_environment ft_grammar_environment;
ft_grammar_environment* ft_grammar_prepare(const ft_tokenizer* tokenizer, uint32_t vocab_size,
                                                 const uint32_t* eos, size_t eos_count,
                                                 const char* whitespace, size_t whitespace_size,
                                                 int compact, double most_seconds);
void ft_grammar_environment_free(ft_grammar_environment* environment);
/* kind: 0 JSON schema, 1 regular expression, 2 EBNF, 3 structural tag. The state is that of a sequence
 * before its first token; sequences get clones of it. Unlike other handles, a state belongs to one
 * thread at a time; cloning only reads. */
typedef struct ft_grammar_state ft_grammar_state;
ft_grammar_state* ft_grammar_compile(const ft_grammar_environment* environment, uint32_t kind,
                                     const char* text, size_t size);
ft_grammar_state* ft_grammar_clone(const ft_grammar_state* state);
void ft_grammar_free(ft_grammar_state* state);
/* Bit id % 32 of word id / 32: the token may come next. */
int ft_grammar_mask(ft_grammar_state* state, uint32_t* words, size_t count);
/* The token follows. 1: the grammar is complete and only an end token may come, 0: it goes on. */
int ft_grammar_accept(ft_grammar_state* state, uint32_t token);
/* Takes the last tokens back. */
int ft_grammar_rollback(ft_grammar_state* state, size_t tokens);
/* Ids (uint32) that must come next, as the tokenizer would write them; often none. */
int ft_grammar_forced(ft_grammar_state* state, ft_buffer* out);

/* Downloads one file of a model's commit into a Hugging Face cache folder unless it is there; its path
 * comes out. token and endpoint may be empty. progress: called with bytes so far and in all. */
typedef void (*ft_progress)(void* context, const char* file, size_t file_size, uint64_t done,
                            uint64_t total);
int ft_hub_fetch(const char* model, size_t model_size, const char* commit, size_t commit_size,
                 const char* file, size_t file_size, const char* cache, size_t cache_size,
                 const char* endpoint, size_t endpoint_size, const char* token, size_t token_size,
                 ft_progress progress, void* context, ft_buffer* path);
/* One per line: the commit that a revision (branch, tag, commit) stands for, then its files. */
int ft_hub_files(const char* model, size_t model_size, const char* revision, size_t revision_size,
                 const char* cache, size_t cache_size, const char* endpoint, size_t endpoint_size,
                 const char* token, size_t token_size, ft_buffer* names);

#ifdef __cplusplus
}
#endif
#endif
