// Rotary angles with YaRN (spec: deepseek-model 4).
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "tensor/buffer.h"

namespace fathom::deepseek {

// cos and sin of every position and pair: [positions, rope / 2] each. YaRN's factor on them
// included.
struct RotaryTables {
  Buffer cos;
  Buffer sin;
};

std::vector<float> inverse_frequencies(const ModelConfig& config);  // [rope / 2]
Result<RotaryTables> make_rotary_tables(const ModelConfig& config, int32_t positions);

}  // namespace fathom::deepseek
