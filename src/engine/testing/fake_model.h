// A model without weights whose every token depends on every token before it, through the slots that
// the scheduler gave it: a wrong, stale or foreign cache row changes the output. Test support.
#pragma once

#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "model/model.h"
#include "sample/random.h"

namespace fathom {

class FakeModel final : public Model {
 public:
  static constexpr int32_t kVocab = 64;
  static constexpr int32_t kMostGenerated = 59;  // it draws from [0, kMostGenerated]
  static constexpr int32_t kEos = 60;
  static constexpr int32_t kPoison = 63;  // whoever has it in his history gets NaN

  static ModelConfig make_config() {
    ModelConfig c;
    c.architecture = "FakeForCausalLM";
    c.vocab_size = kVocab;
    c.layers = c.kv_lora_rank = c.qk_rope = c.hidden = 1;
    c.max_position = 4096;
    c.eos_tokens = {kEos};
    return c;
  }
  // What follows `tokens` under greedy sampling.
  static std::vector<int32_t> continuation(const std::vector<int32_t>& tokens, int64_t count) {
    Row row;
    for (const int32_t token : tokens) row = row.then(token);
    std::vector<int32_t> result;
    for (int64_t i = 0; i < count; ++i) {
      result.push_back(row.next());
      row = row.then(result.back());
    }
    return result;
  }

  // Called on the engine thread at the start of each step; may block or throw.
  using BeforeStep = std::function<void(const ForwardBatch&)>;
  FakeModel(int64_t slots, BeforeStep before)
      : config_(make_config()), before_(std::move(before)), slots_(static_cast<size_t>(slots)) {}

  const ModelConfig& config() const override { return config_; }
  int64_t weight_bytes() const override { return 0; }
  int64_t bytes_per_token() const override { return 0; }
  std::vector<std::span<const std::byte>> weights() override { return {}; }
  void count_experts(std::span<int64_t>) override {}

  void forward(const ForwardBatch& batch, KvPool&, Compute&, Arena&, float* logits) override {
    if (before_) before_(batch);
    rows_.resize(batch.tokens.size());
    for (const SequenceRows& s : batch.sequences) {
      for (int32_t i = 0; i < s.rows; ++i) {
        const int32_t position = s.first_position + i;
        const auto at = [&](int32_t p) -> Row& { return slots_.at(static_cast<size_t>(s.slots[p])); };
        const auto t = static_cast<size_t>(s.first_row + i);
        rows_[t] = at(position) = (position ? at(position - 1) : Row{}).then(batch.tokens[t]);
      }
    }
    write_logits(batch.logit_rows, logits);
  }
  const float* hidden() const override { return nullptr; }
  void logits_of(std::span<const int32_t> rows, Compute&, Arena&, float* logits) override {
    write_logits(rows, logits);
  }
  void set_tap(Tap) override {}

 private:
  struct Row {
    uint64_t hash = 0x5eed;
    bool poisoned = false;
    Row then(int32_t token) const {
      return {mix_bits(hash ^ static_cast<uint64_t>(token + 1)), poisoned || token == kPoison};
    }
    int32_t next() const { return static_cast<int32_t>(hash % (kMostGenerated + 1)); }
  };

  void write_logits(std::span<const int32_t> rows, float* logits) const {
    for (const int32_t t : rows) {
      const Row& row = rows_[static_cast<size_t>(t)];
      for (int32_t id = 0; id < kVocab; ++id) {
        logits[id] = row.poisoned ? std::numeric_limits<float>::quiet_NaN() : id == row.next() ? 9.0f : 0.0f;
      }
      logits += kVocab;
    }
  }

  ModelConfig config_;
  BeforeStep before_;
  std::vector<Row> slots_;
  std::vector<Row> rows_;  // of the last step
};

}  // namespace fathom
