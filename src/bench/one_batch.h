// One static batch through the model alone: no scheduler, no HTTP (spec: bench-tools 3). The time
// of a decode step is compared with the time in which this machine can read the weights that it
// needs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/plan.h"
#include "model/model.h"

namespace fathom {

struct BatchShape {
  int32_t batch = 1;
  int32_t input_len = 0;
  int32_t output_len = 0;
  int64_t tokens() const { return int64_t{batch} * (int64_t{input_len} + output_len); }
};

// Seconds; throughputs in tokens per second.
struct BatchTimes {
  double prefill = 0;
  std::vector<double> decode;  // of each step
  double prefill_throughput = 0;
  double median_decode = 0;
  double median_decode_throughput = 0;
  double total = 0;
  double overall_throughput = 0;
  // Bytes per second at which a plain loop read the model's weights right after the last step. The
  // same memory at the same time: on a shared machine both decide how fast it is.
  double read_limit = 0;
};

class OneBatch {
 public:
  // Loads the model of the plan and a pool for `tokens` tokens; steps have up to `rows` rows.
  static Result<std::unique_ptr<OneBatch>> create(const Plan& plan, int64_t tokens, int32_t rows);

  // Prefills `batch` prompts of random ids in steps of the plan's chunk, then decodes greedily.
  BatchTimes run(const BatchShape& shape, uint64_t seed);
  // The greedy continuation of one prompt, prefilled in pieces of `cut` tokens (0: in one).
  std::vector<int32_t> generate(std::span<const int32_t> prompt, int32_t count, int32_t cut);

  const Model& model() const { return *model_; }
  std::string_view target() const { return compute_->target(); }
  int threads() const { return exec_->threads(); }

 private:
  // `sequences` prompts side by side: sequence s owns the slots [s * capacity, (s + 1) * capacity).
  struct Batch {
    std::vector<std::vector<int32_t>> slots;
    std::vector<int32_t> last;  // newest token of each
  };
  OneBatch() = default;
  Batch make_batch(int32_t sequences, int32_t capacity) const;
  // Fills the cache of one sequence, `chunk` rows a step, and picks its first token.
  void prefill(Batch& batch, int32_t sequence, std::span<const int32_t> prompt, int32_t chunk);
  // One step of all sequences, whose newest tokens stand at `position`.
  void decode(Batch& batch, int32_t position);

  std::unique_ptr<Exec> exec_;
  std::unique_ptr<Compute> compute_;
  std::unique_ptr<Model> model_;
  KvPool kv_;
  std::unique_ptr<Arena> arena_;
  int32_t rows_ = 0;  // most rows in a step
  int32_t chunk_ = 0;
  std::vector<float> logits_;
};

}  // namespace fathom
