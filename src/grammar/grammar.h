// Structured output: which tokens a sequence may continue with (spec: sampling-and-output 6). The
// parsing itself is llguidance's, behind rust/text.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

struct ft_grammar_state;

namespace fathom {

// A compiled grammar. Immutable, shared by the sequences that it binds; any thread.
class Grammar {
 public:
  // Takes the state over. `end_tokens`: ids that end an output, in [0, vocab_size).
  Grammar(ft_grammar_state* start, int32_t vocab_size, std::vector<int32_t> end_tokens)
      : start_(start), vocab_size_(vocab_size), end_tokens_(std::move(end_tokens)) {}
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;
  ~Grammar();

  int32_t vocab_size() const { return vocab_size_; }
  bool is_end(int32_t token) const;

 private:
  friend class GrammarState;
  Result<ft_grammar_state*> clone_start() const;

  ft_grammar_state* start_;
  mutable std::mutex cloning_;
  int32_t vocab_size_;
  std::vector<int32_t> end_tokens_;
};

// Where one sequence stands in its grammar. One thread at a time; survives retraction as it is.
class GrammarState {
 public:
  // Tokens up to and including the first occurrence of `starts_after` are free (GrammarSpec).
  static Result<std::unique_ptr<GrammarState>> create(std::shared_ptr<const Grammar> grammar,
                                                      std::vector<int32_t> starts_after);
  ~GrammarState();

  // Whether the next token is bound.
  bool binds() const { return bound_from_ != kFree; }
  // Finds out which tokens may come next, once per token; later calls cost nothing. An error ends
  // the sequence; it is kept for mask().
  void compute_mask();
  // [vocab_size / 32 rounded up]: bit id % 32 of word id / 32 is set if the token may come next.
  // Empty while tokens are free. Calls compute_mask().
  Result<std::span<const uint32_t>> mask();

  // The sequence goes on with `token`, which the mask allows.
  Status accept(int32_t token);
  // The last `tokens` accepted ones are taken back (a draft was rejected).
  Status rollback(size_t tokens);
  // Ids that must follow, as the tokenizer would write them; often none. Not accepted by this. While
  // there are some, mask() allows the next of them alone: one by one or at once, the text is
  // tokenised the same. Until the next accept() or rollback().
  std::span<const int32_t> forced_tokens();

  // Only an end token can follow, or one has been accepted.
  bool complete() const { return complete_ || ended_; }
  // An end token that the grammar allowed was accepted: the output is whole.
  bool ended() const { return ended_; }

 private:
  static constexpr size_t kFree = SIZE_MAX;
  explicit GrammarState(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {}

  std::shared_ptr<const Grammar> grammar_;
  ft_grammar_state* state_ = nullptr;
  std::vector<int32_t> starts_after_;
  std::vector<int32_t> tokens_;   // accepted, the free ones included
  size_t bound_from_ = kFree;     // tokens_[bound_from_ ...) are the grammar's
  bool complete_ = false;
  bool ended_ = false;
  std::vector<int32_t> forced_;
  size_t forced_used_ = 0;      // of forced_, accepted
  bool forced_known_ = false;
  bool mask_known_ = false;
  std::vector<uint32_t> mask_;
  std::string mask_error_;
};

}  // namespace fathom
