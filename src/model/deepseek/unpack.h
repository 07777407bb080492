// kv_b_proj unpacked for the absorbed attention (spec: deepseek-model 3).
#pragma once

#include "base/result.h"
#include "device/exec.h"
#include "model/deepseek/weights.h"

namespace fathom::deepseek {

// Head h's rows of kv_b are [W_UK (nope rows) ; W_UV (v rows)], each row kv_lora wide. Fills
// key_up with W_UK transposed per head and value_up with W_UV, both of unpacked_format(), and lets
// go of kv_b.
Status unpack_kv_b(const ModelConfig& config, AttentionWeights& attention, Exec& exec);

}  // namespace fathom::deepseek
