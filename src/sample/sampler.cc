#include "sample/sampler.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

#include "sample/random.h"

namespace fathom {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
// What a request's parameters make of a logit stays within this, so that an infinity or NaN is always
// the model's and never a client's.
constexpr float kLargestLogit = 1e30f;
// JSON has no infinities; this is what clients of SGLang see for them.
constexpr float kLowestLogprob = std::numeric_limits<float>::lowest();

struct Better {
  template <class C>
  bool operator()(const C& a, const C& b) const {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }
};

// Of the largest temperatures it would be flushed to zero, and a masked logit times zero is NaN.
double inverse_temperature(const SamplingParams& p) {
  return p.greedy() ? 1.0 : 1.0 / std::min(p.temperature, 1e300);
}

void change(float& logit, double to) {
  if (std::isfinite(logit)) {
    logit = static_cast<float>(std::clamp<double>(to, -kLargestLogit, kLargestLogit));
  }
}

// log of the sum of exp(logit / temperature - max / temperature).
double log_sum(const float* logits, int32_t n, float max, double inverse_temperature) {
  double sum = 0;
  for (int32_t i = 0; i < n; ++i) {
    sum += std::exp(static_cast<float>((static_cast<double>(logits[i]) - max) * inverse_temperature));
  }
  return std::log(sum);
}

// Logprobs of a row whose normaliser is known.
class RowLogprobs {
 public:
  RowLogprobs(const float* logits, int32_t n, float max, double inverse_temperature)
      : logits_(logits), n_(n), max_(max), inverse_(inverse_temperature),
        log_sum_(log_sum(logits, n, max, inverse_temperature)) {}

  TokenLogprob of(int32_t id) const {
    const double value = (static_cast<double>(logits_[id]) - max_) * inverse_ - log_sum_;
    return {std::isfinite(value) ? static_cast<float>(value) : kLowestLogprob, id};
  }
  // False where the distribution is none: a logit is NaN or +inf, or all are -inf.
  bool finite() const { return std::isfinite(log_sum_); }
  PositionLogprobs position(int32_t token, const LogprobOptions& options) const {
    PositionLogprobs p;
    p.token = of(token);
    if (options.top_n > 0) p.top = top(options.top_n);
    for (const int32_t id : options.token_ids) p.chosen.push_back(of(id));
    return p;
  }

 private:
  std::vector<TokenLogprob> top(int32_t count) const {
    std::vector<int32_t> ids(static_cast<size_t>(n_));
    for (int32_t i = 0; i < n_; ++i) ids[static_cast<size_t>(i)] = i;
    const auto better = [this](int32_t a, int32_t b) {
      return logits_[a] > logits_[b] || (logits_[a] == logits_[b] && a < b);
    };
    const auto end = ids.begin() + std::min(count, n_);
    std::partial_sort(ids.begin(), end, ids.end(), better);
    std::vector<TokenLogprob> result;
    for (auto id = ids.begin(); id != end; ++id) result.push_back(of(*id));
    return result;
  }

  const float* logits_;
  int32_t n_;
  float max_;
  double inverse_;
  double log_sum_;
};

int32_t argmax(const float* logits, int32_t n) {
  int32_t best = 0;
  for (int32_t i = 1; i < n; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

// Whether nothing but stop tokens may come: min_new_tokens then has nothing to wait for.
// `forbidden`: how many ids of the vocabulary never come.
bool may_only_stop(const SampleRow& row, size_t vocab, size_t forbidden) {
  const std::vector<int32_t>& wanted = row.params->stop_token_ids;
  if (row.allowed.empty()) {
    return row.stop_ids.size() + wanted.size() + row.banned.size() + forbidden >= vocab;
  }
  for (size_t w = 0; w < row.allowed.size(); ++w) {
    for (uint32_t bits = row.allowed[w]; bits != 0; bits &= bits - 1) {
      const auto id = static_cast<int32_t>(w * 32) + std::countr_zero(bits);
      if (std::find(row.stop_ids.begin(), row.stop_ids.end(), id) == row.stop_ids.end() &&
          !std::binary_search(wanted.begin(), wanted.end(), id)) {
        return false;
      }
    }
  }
  return true;
}

void apply_mask(std::span<const uint32_t> allowed, float* logits, int32_t vocab) {
  if (allowed.empty()) return;
  for (int32_t begin = 0; begin < vocab; begin += 32) {
    const uint32_t bits = allowed[static_cast<size_t>(begin / 32)];
    const int32_t end = std::min(begin + 32, vocab);
    for (int32_t id = begin; id < end; ++id) {
      if (!(bits >> (id - begin) & 1)) logits[id] = kMasked;
    }
  }
}

}  // namespace

Sampler::Sampler(Exec& exec, int32_t vocab, std::vector<bool> allowed, bool replace_nan,
                 bool original_logprobs)
    : exec_(exec), vocab_(vocab), replace_nan_(replace_nan), original_logprobs_(original_logprobs) {
  scratch_.resize(static_cast<size_t>(exec.threads()));
  if (allowed.empty()) return;
  for (int32_t id = 0; id < vocab; ++id) {
    if (static_cast<size_t>(id) >= allowed.size() || !allowed[static_cast<size_t>(id)]) {
      forbidden_.push_back(id);
    }
  }
}

void Sampler::sample(std::span<SampleRow> rows) {
  exec_.parallel_dynamic(static_cast<int64_t>(rows.size()), 1, [&](Range r, int thread) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      sample_row(rows[static_cast<size_t>(i)], scratch_[static_cast<size_t>(thread)]);
    }
  });
}

bool Sampler::prompt_logprobs(const float* logits, std::span<const int32_t> tokens,
                              const LogprobOptions& options,
                              std::vector<PositionLogprobs>& out) const {
  const size_t before = out.size();
  std::atomic<bool> finite{true};
  out.resize(before + tokens.size());
  exec_.parallel_dynamic(static_cast<int64_t>(tokens.size()), 1, [&](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      const float* row = logits + i * vocab_;
      const float max = row[argmax(row, vocab_)];
      const RowLogprobs logprobs(row, vocab_, max, 1.0);
      if (!logprobs.finite()) finite = false;
      out[before + static_cast<size_t>(i)] =
          logprobs.position(tokens[static_cast<size_t>(i)], options);
    }
  });
  return finite || replace_nan_;
}

// Steps 1 to 5 of the spec's table: everything that changes logits.
void Sampler::adjust(SampleRow& row) const {
  const SamplingParams& p = *row.params;
  float* logits = row.logits;
  if (p.frequency_penalty != 0 || p.presence_penalty != 0) {
    for (const auto& [id, count] : row.counts->count) {
      change(logits[id], logits[id] - static_cast<float>(p.frequency_penalty * count + p.presence_penalty));
    }
  }
  if (row.counts->total < p.min_new_tokens &&
      !may_only_stop(row, static_cast<size_t>(vocab_), forbidden_.size())) {
    for (const int32_t id : row.stop_ids) logits[id] = kMasked;
    for (const int32_t id : p.stop_token_ids) {
      if (id >= 0 && id < vocab_) logits[id] = kMasked;
    }
  }
  if (p.repetition_penalty != 1.0) {
    const float penalty = static_cast<float>(p.repetition_penalty);
    for (const auto& [id, count] : row.counts->count) {
      change(logits[id], logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty);
    }
  }
  apply_mask(row.allowed, logits, vocab_);
  for (const auto& [id, bias] : p.logit_bias) change(logits[id], logits[id] + bias);
  for (const int32_t id : row.banned) logits[id] = kMasked;
  for (const int32_t id : forbidden_) logits[id] = kMasked;
  if (replace_nan_) {
    for (int32_t i = 0; i < vocab_; ++i) {
      if (std::isnan(logits[i])) logits[i] = -1e5f;
    }
  }
}

void Sampler::sample_row(SampleRow& row, std::vector<Candidate>& scratch) const {
  adjust(row);
  const int32_t best = argmax(row.logits, vocab_);
  const float max = row.logits[best];
  // A NaN anywhere poisons the distribution; comparing against it is always false, so look for it.
  bool broken = !std::isfinite(max);
  for (int32_t i = 0; i < vocab_; ++i) broken |= std::isnan(row.logits[i]);
  if (broken) {
    row.token = -1;
    return;
  }
  const bool greedy = row.params->greedy();
  const double inverse = inverse_temperature(*row.params);
  if (row.forced >= 0) {
    row.token = row.forced;
  } else if (greedy) {
    row.token = best;
  } else {
    const double sum = std::exp(log_sum(row.logits, vocab_, max, inverse));
    row.token = draw(row, max, sum, scratch);
  }
  if (row.instead_of_stop >= 0 && row.forced < 0 &&
      std::ranges::find(row.stop_ids, row.token) != row.stop_ids.end()) {
    row.token = row.instead_of_stop;
    row.replaced = true;
  }
  if (row.logprob->enabled) {
    row.logprobs = RowLogprobs(row.logits, vocab_, max, original_logprobs_ ? 1.0 : inverse)
                       .position(row.token, *row.logprob);
  }
}

// Steps 9 to 13. Candidates are taken in order of probability, in growing batches, because the kept
// set is nearly always a tiny part of the vocabulary.
int32_t Sampler::draw(const SampleRow& row, float max, double sum,
                      std::vector<Candidate>& candidates) const {
  const SamplingParams& p = *row.params;
  const double inverse = inverse_temperature(p);
  const auto weight = [&](float logit) {
    return static_cast<double>(std::exp(static_cast<float>((static_cast<double>(logit) - max) * inverse)));
  };
  const double u = uniform(row.seed, row.position);

  if (p.top_k < 0 && p.top_p >= 1.0 && p.min_p <= 0) {
    double rest = u * sum;
    int32_t last = -1;
    for (int32_t id = 0; id < vocab_; ++id) {
      const double w = weight(row.logits[id]);
      if (w <= 0) continue;
      last = id;
      rest -= w;
      if (rest < 0) return id;
    }
    return last;  // rounding left a crumb
  }

  candidates.clear();
  for (int32_t id = 0; id < vocab_; ++id) {
    if (weight(row.logits[id]) > 0) candidates.push_back({row.logits[id], id});
  }
  const size_t most = p.top_k < 0 ? candidates.size()
                                  : std::min(candidates.size(), static_cast<size_t>(p.top_k));
  size_t kept = 0;
  size_t sorted = 0;
  double before = 0;  // mass of the candidates kept so far
  for (; kept < most; ++kept) {
    if (kept == sorted) {
      const size_t next = std::min(most, sorted == 0 ? size_t{64} : sorted * 8);
      std::partial_sort(candidates.begin() + static_cast<ptrdiff_t>(sorted),
                        candidates.begin() + static_cast<ptrdiff_t>(next), candidates.end(), Better{});
      sorted = next;
    }
    const double w = weight(candidates[kept].logit);
    if (before / sum > p.top_p || w < p.min_p) break;
    before += w;
  }
  double rest = u * before;
  for (size_t i = 0; i < kept; ++i) {
    rest -= weight(candidates[i].logit);
    if (rest < 0) return candidates[i].id;
  }
  return candidates[kept == 0 ? 0 : kept - 1].id;
}

}  // namespace fathom
