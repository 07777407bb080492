// The tensors of a GGUF file of architecture deepseek2 under the names that Hugging Face gives
// them, so that nothing above can tell where weights came from.
#pragma once

#include <map>
#include <string>

#include "weights/gguf/gguf.h"
#include "weights/safetensors.h"

namespace fathom {

// Stacked experts [E, out, in] become E tensors. attn_k_b [heads, kv_lora, nope] and attn_v_b
// [heads, v, kv_lora], which newer files have in place of attn_kv_b, become kv_b_proj.weight and
// .weight_v (formats/gguf.cc). Names without a counterpart stay as they are.
Result<std::map<std::string, StoredTensor>> read_gguf_tensors(std::span<const std::byte> bytes,
                                                              const std::string& path);

}  // namespace fathom
