// Grammars from what clients send, compiled once and kept. Any thread, but never the engine's: a
// compilation takes milliseconds as a rule and seconds at most.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "grammar/grammar.h"
#include "request/sampling_params.h"
#include "text/tokenizer.h"

struct ft_grammar_environment;

namespace fathom {

struct GrammarOptions {
  std::string json_whitespace;  // a regular expression; "": up to 20 blanks between the parts of JSON
  bool compact_json = false;    // ", " and ": " and no other blank
  size_t most_kept = 64;        // compiled grammars
  // Of their texts. Compiled, a large schema takes about a hundred times its text.
  size_t most_kept_bytes = 2 << 20;
  double most_seconds = 10;     // of one compilation
};

class GrammarCompiler {
 public:
  // Makes the vocabulary ready (half a second for 129,280 tokens). kUnsupported: the tokenizer has
  // no files of its own (--skip-tokenizer-init).
  static Result<std::unique_ptr<GrammarCompiler>> create(std::shared_ptr<const Tokenizer> tokenizer,
                                                         int32_t vocab_size,
                                                         std::vector<int32_t> end_tokens,
                                                         GrammarOptions options);
  ~GrammarCompiler();

  // Compiled before, or null. `starts_after` plays no part: it is the sequence's.
  std::shared_ptr<const Grammar> find(const GrammarSpec& spec);
  // kInvalid: "Failed to compile json grammar: #/properties/a: ...", after most_seconds at the latest.
  Result<std::shared_ptr<const Grammar>> compile(const GrammarSpec& spec);

  double most_seconds() const { return options_.most_seconds; }

 private:
  GrammarCompiler() = default;
  struct Kept {
    std::string key;
    std::shared_ptr<const Grammar> grammar;
  };
  void keep(std::string key, const std::shared_ptr<const Grammar>& grammar);

  std::shared_ptr<const Tokenizer> tokenizer_;
  ft_grammar_environment* environment_ = nullptr;
  int32_t vocab_size_ = 0;
  std::vector<int32_t> end_tokens_;
  GrammarOptions options_;

  std::mutex mutex_;
  std::list<Kept> kept_;  // the one used last in front
  std::unordered_map<std::string_view, std::list<Kept>::iterator> index_;
  size_t kept_bytes_ = 0;  // of all keys
};

}  // namespace fathom
