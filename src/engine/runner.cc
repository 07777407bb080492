#include "engine/runner.h"

namespace fathom {
namespace {

Buffer floats(int64_t n) {
  Result<Buffer> buffer = Buffer::allocate(static_cast<size_t>(n) * sizeof(float));
  CHECK(buffer.has_value());
  return std::move(*buffer);
}

}  // namespace

Runner::Runner(Model& model, Compute& compute, KvPool kv, Arena arena, int32_t max_sampling_rows)
    : model_(&model),
      compute_(compute),
      kv_(std::move(kv)),
      arena_(std::move(arena)),
      vocab_(model.config().vocab_size),
      logits_(floats(max_sampling_rows * vocab_)),
      piece_(floats(kPiece * vocab_)) {}

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
                 logits_.as<float>());
}

const float* Runner::logits_of(std::span<const int32_t> rows) {
  model_->logits_of(rows, compute_, arena_, piece_.as<float>());
  return piece_.as<float>();
}

}  // namespace fathom
