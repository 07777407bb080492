// A loaded model on one rank: weights, and the forward pass over a batch of rows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/arena.h"
#include "kernels/compute.h"
#include "model/config.h"
#include "model/forward_batch.h"

namespace fathom {

// Latent KV of all layers: [layers][slots][latent + rope]. Owned by the engine, sized at start-up.
struct KvPool {
  Buffer data;
  KvFormat format = KvFormat::kBF16;
  int64_t slots = 0;
  int32_t layers = 0;
  int32_t latent = 0;
  int32_t rope = 0;
  KvLayer layer(int32_t l);
  static int64_t bytes_per_token(const ModelConfig& config, KvFormat format);
  static Result<KvPool> allocate(const ModelConfig& config, KvFormat format, int64_t slots);
};

// Receives named intermediate tensors when set (golden tests): tap("ffn_norm", layer, x, rows, n).
using Tap = std::function<void(std::string_view name, int32_t layer, const float* x, int32_t rows,
                               int32_t n)>;

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  // Bytes of weights read in place or packed.
  virtual int64_t weight_bytes() const = 0;
  // Bytes of weights that the decode of a single row reads: of the experts, its top k.
  virtual int64_t bytes_per_token() const = 0;
  // The numbers of all matrices, where they lie: for those who measure how fast they can be read.
  virtual std::vector<std::span<const std::byte>> weights() = 0;

  // Logits of batch.logit_rows, in order: [logit_rows.size(), vocab_size] FP32 into `logits`.
  // Writes the new rows' latents into the pool. Cannot fail.
  virtual void forward(const ForwardBatch& batch, KvPool& kv, Compute& compute, Arena& arena,
                       float* logits) = 0;
  // lm_head can be asked for more rows later in pieces (prompt logprobs of a long chunk):
  // forward() with logit_rows empty leaves the final-norm hidden rows here until the next forward.
  virtual const float* hidden() const = 0;  // [T, hidden]
  virtual void logits_of(std::span<const int32_t> rows, Compute& compute, Arena& arena,
                         float* logits) = 0;
  virtual void set_tap(Tap tap) = 0;
  // Adds to counts[layer * experts + expert] for each row sent to an expert, until told otherwise;
  // empty: no counting. The numbers outlive the counting.
  virtual void count_experts(std::span<int64_t> counts) = 0;
};

}  // namespace fathom
