// DeepSeek-V2 / V3: multi-head latent attention and mixture of experts.
#pragma once

#include <memory>

#include "model/deepseek/weights.h"
#include "model/loader.h"
#include "weights/checkpoint.h"

namespace fathom::deepseek {

// See model/loader.h.
int64_t scratch_bytes(const ModelConfig& config, int32_t rows);

// Takes loaded weights, unpacks kv_b for the absorbed attention, builds the rotary tables.
// `checkpoint` is kept alive for weights that lie in its files.
Result<std::unique_ptr<Model>> make_model(const ModelConfig& config, Weights weights,
                                          std::shared_ptr<const Checkpoint> checkpoint,
                                          const LoadOptions& options, Compute& compute);

}  // namespace fathom::deepseek
