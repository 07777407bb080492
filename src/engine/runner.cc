#include "engine/runner.h"

namespace fathom {

Runner::Runner(Model& model, Compute& compute, KvPool kv, Arena arena, Buffer logits)
    : model_(&model),
      compute_(compute),
      kv_(std::move(kv)),
      arena_(std::move(arena)),
      vocab_(model.config().vocab_size),
      logits_(std::move(logits)) {}

void Runner::forward(const StepPlan& plan) {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  logit_rows_.clear();
  sequences_.clear();
  for (const SequenceStep& step : plan.sequences) {
    const int32_t first_row = static_cast<int32_t>(tokens_.size());
    sequences_.push_back({first_row, step.rows, step.first_position, step.slots});
    for (int32_t i = 0; i < step.rows; ++i) {
      tokens_.push_back(step.tokens[i]);
      positions_.push_back(step.first_position + i);
      slots_.push_back(step.slots[step.first_position + i]);
    }
    if (step.samples) logit_rows_.push_back(first_row + step.rows - 1);
  }
  model_->forward({tokens_, positions_, slots_, sequences_, logit_rows_}, kv_, compute_, arena_,
                 logits(0));
}

const float* Runner::logits_of(std::span<const int32_t> rows) {
  model_->logits_of(rows, compute_, arena_, logits_.as<float>());
  return logits_.as<float>();
}

}  // namespace fathom
