// Turns a StepPlan into a ForwardBatch and runs the model: the last stop before tensors.
#pragma once

#include <span>
#include <vector>

#include "model/model.h"
#include "sched/step_plan.h"

namespace fathom {

class Runner {
 public:
  Runner(Model& model, Compute& compute, KvPool kv, Arena arena, Buffer logits);
  // Of a step in which `sampling_rows` sequences sample, and of a piece for logits_of().
  static int64_t logit_bytes(const ModelConfig& config, int32_t sampling_rows) {
    return int64_t{4} * (int64_t{sampling_rows} + kPiece) * config.vocab_size;
  }

  // Another model of the same shapes from here on.
  void use(Model& model) { model_ = &model; }

  // Runs the step. Afterwards logits(i) are those of the i-th sequence that samples, in plan order.
  void forward(const StepPlan& plan);
  float* logits(int32_t i) { return logits_.as<float>() + (int64_t{kPiece} + i) * vocab_; }

  // Final hidden state of row `row` of the step just run.
  std::span<const float> hidden(int32_t row) const {
    const auto width = static_cast<size_t>(model_->config().hidden);
    return {model_->hidden() + static_cast<size_t>(row) * width, width};
  }

  // Logits of any rows of the step just run, in pieces of at most kPiece rows.
  static constexpr int32_t kPiece = 256;
  const float* logits_of(std::span<const int32_t> rows);

 private:
  Model* model_;
  Compute& compute_;
  KvPool kv_;
  Arena arena_;
  int64_t vocab_;
  Buffer logits_;  // [kPiece + sampling rows, vocab]
  std::vector<int32_t> tokens_, positions_, slots_, logit_rows_;
  std::vector<SequenceRows> sequences_;
};

}  // namespace fathom
