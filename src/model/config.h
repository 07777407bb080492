// config.json of the DeepSeek-V2 / V3 family, read and checked (spec: deepseek-model 1).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/args.h"
#include "weights/quant_config.h"

namespace fathom {

struct YarnConfig {
  double factor = 1;
  int32_t original_max_position = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
};

struct ModelConfig {
  std::string architecture;  // "DeepseekV3ForCausalLM", ...
  std::string model_type;
  std::string torch_dtype;

  int32_t hidden = 0;
  int32_t layers = 0;
  int32_t vocab_size = 0;
  int32_t max_position = 0;
  float rms_eps = 1e-6f;

  // Attention.
  int32_t heads = 0;
  int32_t q_lora_rank = 0;  // 0: plain q_proj
  int32_t kv_lora_rank = 0;
  int32_t qk_nope = 0;
  int32_t qk_rope = 0;
  int32_t v_head = 0;
  double rope_theta = 10000;
  bool rope_interleave = true;
  std::optional<YarnConfig> yarn;
  // (qk_nope + qk_rope)^-0.5, times yarn_mscale(mscale_all_dim)^2 with YaRN.
  float softmax_scale() const;

  // Feed-forward.
  int32_t dense_intermediate = 0;
  int32_t first_dense_layers = 0;
  int32_t moe_layer_freq = 1;
  int32_t moe_intermediate = 0;
  int32_t shared_experts = 0;
  bool gate_has_bias = false;  // e_score_correction_bias
  GatePolicy gate;             // gate.experts == 0: dense model
  bool is_moe_layer(int32_t layer) const;

  bool tie_word_embeddings = false;
  int32_t mtp_layers = 0;  // num_nextn_predict_layers
  int32_t bos_token = -1;
  std::vector<int32_t> eos_tokens;  // config.json and generation_config.json together
  struct GenerationDefaults {
    std::optional<double> temperature, top_p, min_p, repetition_penalty;
    std::optional<int64_t> top_k;
  } generation;

  QuantConfig quant;  // quantization_config or compression_config; empty method: none

  // `json_override` is shallow-merged first (--json-model-override-args). Errors name the field,
  // its value and what is allowed. Reads generation_config too when given (may be empty).
  static Result<ModelConfig> parse(std::string_view config_json, std::string_view generation_json,
                                   std::string_view json_override);
};

}  // namespace fathom
