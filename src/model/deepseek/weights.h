// The weights of a DeepSeek-V2 / V3 model, and the one place that names each of them once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "weights/matrix.h"

namespace fathom::deepseek {

struct AttentionWeights {
  // Low-rank queries (q_lora_rank > 0), or the direct projection in q_b alone.
  Matrix q_a;        // [q_lora, hidden]
  Vector q_a_norm;   // [q_lora]
  Matrix q_b;        // [heads * (nope + rope), q_lora or hidden]
  Matrix kv_a;       // [kv_lora + rope, hidden]
  Vector kv_a_norm;  // [kv_lora]
  Matrix kv_b;  // [heads * (nope + v), kv_lora]; the checkpoint's; empty once unpacked into the
                // next two
  Matrix out;   // [hidden, heads * v]
  float kv_scale = 1;  // of FP8 codes in the KV cache
  // kv_b unpacked for the absorbed form, one matrix per head behind the other.
  Matrix key_up;    // [heads * kv_lora, nope]: W_UK transposed
  Matrix value_up;  // [heads * v, kv_lora]:    W_UV
};

struct MlpWeights {
  Matrix gate;  // [width, hidden]
  Matrix up;    // [width, hidden]
  Matrix down;  // [hidden, width]
};

struct MoeWeights {
  Matrix router;  // [experts, hidden], FP32: rounding its logits would change the chosen experts
  Vector bias;    // [experts] or empty
  std::vector<MlpWeights> experts;
  std::optional<MlpWeights> shared;
};

struct LayerWeights {
  Vector attention_norm;  // [hidden]
  AttentionWeights attention;
  Vector ffn_norm;                // [hidden]
  std::optional<MlpWeights> mlp;  // dense layers
  std::optional<MoeWeights> moe;  // expert layers
};

struct Weights {
  Matrix embed;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  Vector norm;  // [hidden]
  Matrix head;  // [vocab, hidden]
};

// The part that this layer has: made by the first visit, found by later ones.
template <class Part>
Part& present(std::optional<Part>& part) {
  return part ? *part : part.emplace();
}

// Calls the visitor once per weight:
//   linear(prefix, out, in, Matrix&)   a quantisable matrix, named without ".weight"
//   source(prefix, out, in, Matrix&)   likewise, but unpacked at load (unpack.h) and not read after
//   table(prefix, out, in, Matrix&)    a matrix that is never quantised
//   router(prefix, out, in, Matrix&)   likewise, wanted in FP32
//   head(prefix, out, in, Matrix&)     the output head: kept as stored, or what --lm-head-dtype says
//   vector(name, n, Vector&)
//   kv_scale(prefix, float&)           optional: the scale of FP8 codes in the KV cache
// Loading, random filling, counting and checking are visitors.
template <class Visitor>
void visit(Weights& w, const ModelConfig& c, Visitor&& v) {
  const auto mlp = [&](const std::string& p, int32_t width, MlpWeights& m) {
    v.linear(p + "gate_proj", width, c.hidden, m.gate);
    v.linear(p + "up_proj", width, c.hidden, m.up);
    v.linear(p + "down_proj", c.hidden, width, m.down);
  };
  v.table("model.embed_tokens", c.vocab_size, c.hidden, w.embed);
  w.layers.resize(static_cast<size_t>(c.layers));
  for (int32_t l = 0; l < c.layers; ++l) {
    LayerWeights& layer = w.layers[static_cast<size_t>(l)];
    const std::string p = "model.layers." + std::to_string(l) + ".";
    v.vector(p + "input_layernorm.weight", c.hidden, layer.attention_norm);

    AttentionWeights& a = layer.attention;
    const int32_t query = c.heads * (c.qk_nope + c.qk_rope);
    if (c.q_lora_rank > 0) {
      v.linear(p + "self_attn.q_a_proj", c.q_lora_rank, c.hidden, a.q_a);
      v.vector(p + "self_attn.q_a_layernorm.weight", c.q_lora_rank, a.q_a_norm);
      v.linear(p + "self_attn.q_b_proj", query, c.q_lora_rank, a.q_b);
    } else {
      v.linear(p + "self_attn.q_proj", query, c.hidden, a.q_b);
    }
    v.linear(p + "self_attn.kv_a_proj_with_mqa", c.kv_lora_rank + c.qk_rope, c.hidden, a.kv_a);
    v.vector(p + "self_attn.kv_a_layernorm.weight", c.kv_lora_rank, a.kv_a_norm);
    v.source(p + "self_attn.kv_b_proj", c.heads * (c.qk_nope + c.v_head), c.kv_lora_rank, a.kv_b);
    v.linear(p + "self_attn.o_proj", c.hidden, c.heads * c.v_head, a.out);
    v.kv_scale(p + "self_attn.", a.kv_scale);

    v.vector(p + "post_attention_layernorm.weight", c.hidden, layer.ffn_norm);
    if (!c.is_moe_layer(l)) {
      mlp(p + "mlp.", c.dense_intermediate, present(layer.mlp));
      continue;
    }
    MoeWeights& moe = present(layer.moe);
    v.router(p + "mlp.gate", c.gate.experts, c.hidden, moe.router);
    if (c.gate_has_bias) {
      v.vector(p + "mlp.gate.e_score_correction_bias", c.gate.experts, moe.bias);
    }
    moe.experts.resize(static_cast<size_t>(c.gate.experts));
    for (int32_t e = 0; e < c.gate.experts; ++e) {
      mlp(p + "mlp.experts." + std::to_string(e) + ".", c.moe_intermediate,
          moe.experts[static_cast<size_t>(e)]);
    }
    if (c.shared_experts > 0) {
      mlp(p + "mlp.shared_experts.", c.shared_experts * c.moe_intermediate, present(moe.shared));
    }
  }
  v.vector("model.norm.weight", c.hidden, w.norm);
  if (!c.tie_word_embeddings) v.head("lm_head", c.vocab_size, c.hidden, w.head);
}

}  // namespace fathom::deepseek
