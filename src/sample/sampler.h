// From logits to a token (spec: sampling-and-output 1 and 2). Each row is computed alone: a token
// depends on its logits, its request and its position, never on the batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "device/exec.h"
#include "request/request.h"
#include "request/token_event.h"

namespace fathom {

// What the penalties remember of one sequence: how often each token was generated, by ascending id.
// Only kept when asked for; sorted in one block so that a step of decoding allocates nothing.
struct GeneratedCounts {
  std::vector<std::pair<int32_t, int32_t>> count;
  int64_t total = 0;
  void reserve(int64_t most_tokens) {
    count.reserve(static_cast<size_t>(std::min<int64_t>(most_tokens, 4096)));
  }
  void add(int32_t token, bool remember = true) {
    ++total;
    if (!remember) return;
    const auto place = std::lower_bound(count.begin(), count.end(), std::pair(token, 0));
    if (place != count.end() && place->first == token) {
      ++place->second;
    } else {
      count.insert(place, {token, 1});
    }
  }
};

// One row to sample from, and what came out.
struct SampleRow {
  float* logits = nullptr;  // [vocab], changed in place
  const SamplingParams* params = nullptr;
  const LogprobOptions* logprob = nullptr;
  const GeneratedCounts* counts = nullptr;
  std::span<const int32_t> stop_ids;  // masked until min_new_tokens
  // The grammar's mask: bit id % 32 of word id / 32 is set for tokens that may come. Empty: all may.
  std::span<const uint32_t> allowed;
  std::span<const int32_t> banned;    // masked
  int32_t forced = -1;                // drawn whatever the logits say; -1: none
  int32_t instead_of_stop = -1;       // comes where one of stop_ids is drawn; -1: that may come
  uint64_t seed = 0;
  uint64_t position = 0;  // of the token to be drawn

  int32_t token = -1;     // -1: every logit was NaN or -inf
  bool replaced = false;  // it is instead_of_stop
  PositionLogprobs logprobs;
};

class Sampler {
 public:
  // allowed[id] is false for ids that the tokenizer lacks: they are never drawn. Shorter than the
  // vocabulary: the rest (padding rows of the head) is not allowed. Empty: all are.
  // replace_nan: NaN logits become -1e5 instead of failing the row (--enable-nan-detection).
  // original_logprobs: those of sampled tokens leave the temperature out of account.
  Sampler(Exec& exec, int32_t vocab, std::vector<bool> allowed, bool replace_nan,
          bool original_logprobs = false);

  void sample(std::span<SampleRow> rows);

  // Appends the logprobs of tokens[i] and what else was asked for, from row i of the raw logits
  // [tokens.size(), vocab] (temperature 1). False if not all of the rows are distributions: a logit
  // is NaN or +inf, or all are -inf.
  bool prompt_logprobs(const float* logits, std::span<const int32_t> tokens,
                       const LogprobOptions& options, std::vector<PositionLogprobs>& out) const;

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  void sample_row(SampleRow& row, std::vector<Candidate>& scratch) const;
  void adjust(SampleRow& row) const;
  int32_t draw(const SampleRow& row, float max, double sum, std::vector<Candidate>& scratch) const;

  Exec& exec_;
  int32_t vocab_;
  std::vector<int32_t> forbidden_;
  bool replace_nan_;
  bool original_logprobs_;
  std::vector<std::vector<Candidate>> scratch_;  // per thread
};

}  // namespace fathom
