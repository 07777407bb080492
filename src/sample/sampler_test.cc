// The sampler against a naive oracle that sorts everything, and its promises: filters, penalties,
// determinism, logprobs.
#include "sample/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

namespace fathom {
namespace {

constexpr int32_t kVocab = 300;

std::vector<float> random_logits(unsigned seed, bool with_ties = false) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kVocab);
  for (float& l : logits) l = with_ties ? std::round(normal(random)) : normal(random);
  return logits;
}

class SamplerTest : public testing::Test {
 protected:
  SampleRow sample(std::vector<float> logits, const SamplingParams& params, uint64_t position = 0,
                   const LogprobOptions& logprob = {}) {
    SampleRow row{.logits = logits.data(), .params = &params, .logprob = &logprob, .counts = &counts_,
                  .stop_ids = eos_, .seed = params.seed.value_or(1), .position = position};
    sampler_.sample({&row, 1});
    return row;
  }

  std::unique_ptr<Exec> exec_ = Exec::create({.threads = 2, .cores = {}});
  Sampler sampler_{*exec_, kVocab, {}, false};
  GeneratedCounts counts_;
  std::vector<int32_t> eos_ = {7};
};

// Which ids may be drawn, by sorting all of them (spec: sampling-and-output 1, steps 9 to 12).
std::vector<int32_t> allowed_by_oracle(const std::vector<float>& logits, const SamplingParams& p) {
  std::vector<int32_t> ids(kVocab);
  for (int32_t i = 0; i < kVocab; ++i) ids[static_cast<size_t>(i)] = i;
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  std::vector<double> mass;
  double sum = 0;
  for (const int32_t id : ids) {
    mass.push_back(std::exp((logits[static_cast<size_t>(id)] - logits[static_cast<size_t>(ids[0])]) / p.temperature));
    sum += mass.back();
  }
  std::vector<int32_t> kept;
  double before = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (p.top_k > 0 && static_cast<int64_t>(i) >= p.top_k) break;
    if (before / sum > p.top_p || mass[i] < p.min_p) break;
    kept.push_back(ids[i]);
    before += mass[i];
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

TEST_F(SamplerTest, NoTemperatureIsTooHighForAMask) {
  SamplingParams p;
  p.temperature = std::numeric_limits<double>::max();
  p.min_new_tokens = 1;
  for (const double top_p : {1.0, 0.5}) {
    p.top_p = top_p;
    std::set<int32_t> seen;
    for (uint64_t position = 0; position < 5000; ++position) {
      seen.insert(sample(random_logits(1), p, position).token);
    }
    EXPECT_FALSE(seen.contains(7));
    EXPECT_GT(seen.size(), top_p * kVocab * 0.9);
  }
}

TEST_F(SamplerTest, DrawsExactlyWhatTheFiltersLeave) {
  struct Case {
    double temperature, top_p, min_p;
    int64_t top_k;
  };
  for (const Case& c : {Case{1, 1, 0, 5}, Case{1, 0.7, 0, -1}, Case{0.8, 0.9, 0, 12}, Case{2, 1, 0.2, -1}, Case{1.5, 0.95, 0.05, 40}}) {
    for (const bool ties : {false, true}) {
      const std::vector<float> logits = random_logits(11, ties);
      SamplingParams p;
      p.temperature = c.temperature;
      p.top_p = c.top_p;
      p.min_p = c.min_p;
      p.top_k = c.top_k;
      std::vector<int32_t> seen;
      for (uint64_t position = 0; position < 4000; ++position) seen.push_back(sample(logits, p, position).token);
      std::sort(seen.begin(), seen.end());
      seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
      const std::vector<int32_t> allowed = allowed_by_oracle(logits, p);
      EXPECT_TRUE(std::includes(allowed.begin(), allowed.end(), seen.begin(), seen.end()));
      EXPECT_GT(seen.size() * 4, allowed.size());  // and most of them do come up
    }
  }
}

TEST_F(SamplerTest, FrequenciesFollowTheDistribution) {
  std::vector<float> logits(kVocab, -std::numeric_limits<float>::infinity());
  const std::vector<double> p = {0.5, 0.3, 0.15, 0.05};
  for (size_t i = 0; i < p.size(); ++i) logits[i * 10] = static_cast<float>(std::log(p[i]));
  for (const double top_p : {1.0, 0.9999}) {  // both ways of drawing
    SamplingParams params;
    params.top_p = top_p;
    std::vector<int> count(p.size());
    constexpr int kDraws = 20000;
    for (uint64_t position = 0; position < kDraws; ++position) {
      ++count.at(static_cast<size_t>(sample(logits, params, position).token) / 10);
    }
    double chi = 0;
    for (size_t i = 0; i < p.size(); ++i) chi += std::pow(count[i] - kDraws * p[i], 2) / (kDraws * p[i]);
    EXPECT_LT(chi, 16.3);  // 3 degrees of freedom, one in a thousand; the seed is fixed
  }
}

TEST_F(SamplerTest, GreedyTakesTheLowestIdOfTheBest) {
  std::vector<float> logits(kVocab, 0);
  logits[20] = logits[10] = 5;
  SamplingParams p;
  p.temperature = 0;
  EXPECT_EQ(sample(logits, p).token, 10);
}

TEST_F(SamplerTest, ADrawDependsOnSeedAndPositionAlone) {
  const std::vector<float> logits = random_logits(3);
  SamplingParams p;
  p.seed = 42;
  const int32_t token = sample(logits, p, 9).token;
  std::vector<std::vector<float>> copies(16, logits);
  std::vector<SamplingParams> params(16, p);
  const LogprobOptions none;
  std::vector<SampleRow> rows;
  for (size_t i = 0; i < 16; ++i) {
    rows.push_back({.logits = copies[i].data(), .params = &params[i], .logprob = &none, .counts = &counts_,
                    .stop_ids = {}, .seed = 42, .position = i});
  }
  sampler_.sample(rows);
  EXPECT_EQ(rows[9].token, token);
}

TEST_F(SamplerTest, PenaltiesMinTokensAndBias) {
  std::vector<float> logits(kVocab, -20);
  logits[5] = 4;
  logits[7] = 10;  // EOS
  logits[9] = 3.5;
  SamplingParams p;
  p.temperature = 0;
  p.min_new_tokens = 3;
  EXPECT_EQ(sample(logits, p).token, 5);  // EOS is masked
  counts_.add(5);
  p.frequency_penalty = 0.4;
  p.presence_penalty = 0.2;
  EXPECT_EQ(sample(logits, p).token, 9);
  p.frequency_penalty = p.presence_penalty = 0;
  p.repetition_penalty = 1.5;
  EXPECT_EQ(sample(logits, p).token, 9);
  p.logit_bias = {{5, 10.0f}};
  EXPECT_EQ(sample(logits, p).token, 5);
  counts_.add(1);
  counts_.add(1);
  p.logit_bias = {};
  EXPECT_EQ(sample(logits, p).token, 7);  // three tokens were generated
}

TEST_F(SamplerTest, NoParameterMakesLogitsInfinite) {
  constexpr float kMost = std::numeric_limits<float>::max();
  for (int32_t i = 0; i < 3; ++i) counts_.add(3);
  SamplingParams p;
  p.temperature = 0.5;
  p.frequency_penalty = -2;
  p.repetition_penalty = 1e-320;
  p.logit_bias = {{3, kMost}, {4, -kMost}, {5, kMost}};
  LogprobOptions logprob{.enabled = true};
  std::vector<float> logits = random_logits(1);
  logits[3] = 8;
  const SampleRow row = sample(logits, p, 0, logprob);
  EXPECT_TRUE(row.token == 3 || row.token == 5) << row.token;
  EXPECT_NEAR(row.logprobs.token.logprob.value(), std::log(0.5), 1e-6);
  logits[3] = std::numeric_limits<float>::infinity();  // the model's own are still found
  EXPECT_EQ(sample(logits, p).token, -1);
}

TEST_F(SamplerTest, BrokenLogitsAreReportedNotSampled) {
  SamplingParams p;
  std::vector<float> logits = random_logits(1);
  logits[100] = std::nanf("");
  EXPECT_EQ(sample(logits, p).token, -1);
  p.temperature = 0;
  EXPECT_EQ(sample(logits, p).token, -1);
  EXPECT_EQ(sample(std::vector<float>(kVocab, -std::numeric_limits<float>::infinity()), p).token, -1);
  Sampler healing(*exec_, kVocab, {}, true);
  const LogprobOptions none;
  SampleRow row{.logits = logits.data(), .params = &p, .logprob = &none, .counts = &counts_, .stop_ids = {}};
  healing.sample({&row, 1});
  EXPECT_GE(row.token, 0);
}

TEST_F(SamplerTest, IdsWithoutATokenAreNeverDrawn) {
  std::vector<bool> allowed(200, true);
  allowed[3] = false;
  Sampler sampler(*exec_, kVocab, allowed, false);
  std::vector<float> logits(kVocab, 0);
  logits[3] = logits[250] = 50;
  SamplingParams p;
  p.temperature = 0;
  const LogprobOptions none;
  SampleRow row{.logits = logits.data(), .params = &p, .logprob = &none, .counts = &counts_, .stop_ids = {}};
  sampler.sample({&row, 1});
  EXPECT_EQ(row.token, 0);
}

TEST_F(SamplerTest, AnotherTokenComesWhereAStopIsDrawn) {
  SamplingParams p;
  p.temperature = 0;
  const LogprobOptions logprob{.enabled = true, .start_len = -1, .top_n = 0, .token_ids = {}};
  for (const int32_t best : {7, 8}) {
    std::vector<float> logits(kVocab, 0);
    logits[static_cast<size_t>(best)] = 50;
    SampleRow row{.logits = logits.data(),
                  .params = &p,
                  .logprob = &logprob,
                  .counts = &counts_,
                  .stop_ids = eos_,
                  .instead_of_stop = 9};
    sampler_.sample({&row, 1});
    EXPECT_EQ(row.token, best == 7 ? 9 : 8);
    EXPECT_EQ(row.replaced, best == 7);
    EXPECT_NEAR(*row.logprobs.token.logprob, best == 7 ? -50 : 0, 1e-3);
  }
}

TEST_F(SamplerTest, LogprobsAreOfTheTemperedDistribution) {
  const std::vector<float> logits = random_logits(8);
  SamplingParams p;
  p.temperature = 0.7;
  const LogprobOptions options{.enabled = true, .start_len = -1, .top_n = 5, .token_ids = {3, 299}};
  const SampleRow row = sample(logits, p, 4, options);
  double sum = 0;
  for (const float l : logits) sum += std::exp(l / p.temperature);
  const auto expected = [&](int32_t id) { return logits[static_cast<size_t>(id)] / p.temperature - std::log(sum); };
  EXPECT_NEAR(*row.logprobs.token.logprob, expected(row.token), 1e-5);
  ASSERT_EQ(row.logprobs.top.size(), 5u);
  for (size_t i = 0; i + 1 < 5; ++i) EXPECT_GE(*row.logprobs.top[i].logprob, *row.logprobs.top[i + 1].logprob);
  for (const TokenLogprob& t : row.logprobs.top) EXPECT_NEAR(*t.logprob, expected(t.id), 1e-5);
  ASSERT_EQ(row.logprobs.chosen.size(), 2u);
  EXPECT_EQ(row.logprobs.chosen[1].id, 299);
  // A token in the top list has the same bits there as alone.
  for (const TokenLogprob& t : row.logprobs.top) {
    if (t.id == row.token) {
      EXPECT_EQ(*t.logprob, *row.logprobs.token.logprob);
    }
  }
}

TEST_F(SamplerTest, OriginalLogprobsAreOfTheDistributionBeforeTheTemperature) {
  Sampler original(*exec_, kVocab, {}, false, true);
  const std::vector<float> raw = random_logits(8);
  double sum = 0;
  for (const float l : raw) sum += std::exp(l);
  SamplingParams p;
  p.temperature = 0.7;
  const LogprobOptions options{.enabled = true, .start_len = -1, .top_n = 5, .token_ids = {}};
  std::vector<float> logits = raw;
  SampleRow row{.logits = logits.data(),
                .params = &p,
                .logprob = &options,
                .counts = &counts_,
                .stop_ids = eos_,
                .seed = 1,
                .position = 4};
  original.sample({&row, 1});
  EXPECT_EQ(row.token, sample(raw, p, 4).token);  // what is drawn does not change
  for (const TokenLogprob& t : row.logprobs.top) {
    EXPECT_NEAR(*t.logprob, raw[static_cast<size_t>(t.id)] - std::log(sum), 1e-5);
  }
}

// A mask that allows `ids`.
std::vector<uint32_t> mask_of(std::initializer_list<int32_t> ids) {
  std::vector<uint32_t> mask((kVocab + 31) / 32);
  for (const int32_t id : ids) mask[static_cast<size_t>(id / 32)] |= 1u << (id % 32);
  return mask;
}

TEST_F(SamplerTest, NothingOutsideTheGrammarIsDrawn) {
  SamplingParams p;
  p.logit_bias = {{50, 1000.0f}};  // cannot revive what is forbidden
  const LogprobOptions logprob{.enabled = true, .start_len = -1, .top_n = 4, .token_ids = {50}};
  const std::vector<uint32_t> mask = mask_of({3, 64, 299});
  std::vector<bool> seen(kVocab);
  for (uint64_t position = 0; position < 200; ++position) {
    std::vector<float> logits = random_logits(11);
    SampleRow row{.logits = logits.data(), .params = &p, .logprob = &logprob, .counts = &counts_,
                  .stop_ids = eos_, .allowed = mask, .seed = 5, .position = position};
    sampler_.sample({&row, 1});
    ASSERT_TRUE(row.token == 3 || row.token == 64 || row.token == 299) << row.token;
    seen[static_cast<size_t>(row.token)] = true;
    EXPECT_EQ(*row.logprobs.top[3].logprob, std::numeric_limits<float>::lowest());
    EXPECT_EQ(*row.logprobs.chosen[0].logprob, std::numeric_limits<float>::lowest());
  }
  EXPECT_TRUE(seen[3] && seen[64] && seen[299]);
}

TEST_F(SamplerTest, AGrammarThatMustEndWinsOverMinNewTokens) {
  SamplingParams p;
  p.min_new_tokens = 10;
  p.stop_token_ids = {9};
  const LogprobOptions none;
  const auto token = [&](const std::vector<uint32_t>& mask) {
    std::vector<float> logits = random_logits(12);
    SampleRow row{.logits = logits.data(), .params = &p, .logprob = &none, .counts = &counts_,
                  .stop_ids = eos_, .allowed = mask, .seed = 5, .position = 1};
    sampler_.sample({&row, 1});
    return row.token;
  };
  EXPECT_EQ(token(mask_of({7})), 7);
  EXPECT_TRUE(token(mask_of({7, 9})) == 7 || token(mask_of({7, 9})) == 9);
  EXPECT_EQ(token(mask_of({7, 9, 20})), 20);
}

TEST_F(SamplerTest, StopIdsThatAreTheWholeVocabularyStop) {
  SamplingParams p;
  p.temperature = 0;
  p.min_new_tokens = 10;
  const LogprobOptions none;
  const auto token = [&](int32_t first) {
    std::vector<int32_t> ids;
    for (int32_t id = first; id < 300; ++id) ids.push_back(id);
    p.stop_token_ids = ids;
    std::vector<float> logits = random_logits(12);
    SampleRow row{
        .logits = logits.data(), .params = &p, .logprob = &none, .counts = &counts_, .position = 1};
    sampler_.sample({&row, 1});
    return row.token;
  };
  EXPECT_EQ(token(1), 0);
  EXPECT_GE(token(0), 0);
}

}  // namespace
}  // namespace fathom
