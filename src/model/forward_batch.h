// Input of one forward step, as the model sees it: rows of token ids at positions, grouped by
// sequence. No request, no phase: prefill, decode and draft verification look the same.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/args.h"

namespace fathom {

struct ForwardBatch {
  std::span<const int32_t> tokens;          // [T]
  std::span<const int32_t> positions;       // [T]
  std::span<const int32_t> slots;           // [T] pool row that receives each row's latent
  std::span<const SequenceRows> sequences;  // partition of [0, T), in order
  std::span<const int32_t> logit_rows;      // rows whose logits are wanted, ascending
};

}  // namespace fathom
