#include "weights/gguf/tensor_names.h"

#include <fmt/format.h>

#include <optional>

namespace fathom {
namespace {

struct Name {
  std::string_view gguf;
  std::string_view hf;
};

constexpr Name kModelNames[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                {"output_norm.weight", "model.norm.weight"},
                                {"output.weight", "lm_head.weight"}};

// Behind "blk.<n>." and "model.layers.<n>.".
constexpr Name kLayerNames[] = {{"attn_norm.weight", "input_layernorm.weight"},
                                {"attn_q.weight", "self_attn.q_proj.weight"},
                                {"attn_q_a.weight", "self_attn.q_a_proj.weight"},
                                {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
                                {"attn_q_b.weight", "self_attn.q_b_proj.weight"},
                                {"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"},
                                {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
                                {"attn_kv_b.weight", "self_attn.kv_b_proj.weight"},
                                {"attn_k_b.weight", "self_attn.kv_b_proj.weight"},
                                {"attn_v_b.weight", "self_attn.kv_b_proj.weight_v"},
                                {"attn_output.weight", "self_attn.o_proj.weight"},
                                {"ffn_norm.weight", "post_attention_layernorm.weight"},
                                {"ffn_gate.weight", "mlp.gate_proj.weight"},
                                {"ffn_up.weight", "mlp.up_proj.weight"},
                                {"ffn_down.weight", "mlp.down_proj.weight"},
                                {"ffn_gate_inp.weight", "mlp.gate.weight"},
                                {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
                                {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
                                {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
                                {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
                                {"nextn.eh_proj.weight", "eh_proj.weight"},
                                {"nextn.enorm.weight", "enorm.weight"},
                                {"nextn.hnorm.weight", "hnorm.weight"},
                                {"nextn.embed_tokens.weight", "embed_tokens.weight"},
                                {"nextn.shared_head_norm.weight", "shared_head.norm.weight"},
                                {"nextn.shared_head_head.weight", "shared_head.head.weight"}};

// All experts of a layer in one tensor.
constexpr Name kStackedNames[] = {{"ffn_gate_exps.weight", "gate_proj.weight"},
                                  {"ffn_up_exps.weight", "up_proj.weight"},
                                  {"ffn_down_exps.weight", "down_proj.weight"}};

template <size_t n>
std::optional<std::string_view> look_up(const Name (&names)[n], std::string_view name) {
  for (const Name& row : names) {
    if (row.gguf == name) return row.hf;
  }
  return std::nullopt;
}

// "blk.12.attn_q.weight" -> "12", "attn_q.weight".
std::optional<std::pair<std::string_view, std::string_view>> split_layer(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot > 4) return std::nullopt;
  const std::string_view number = name.substr(0, dot);
  if (number.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  if (number.size() > 1 && number[0] == '0') return std::nullopt;  // one name for a layer
  return std::pair(number, name.substr(dot + 1));
}

StoredTensor stored(const GgufTensor& tensor) {
  StoredTensor result;
  result.dtype = tensor.type->plain.value_or(DType::kBlocks);
  if (!tensor.type->plain) result.block = tensor.type;
  result.shape = tensor.shape;
  result.bytes = tensor.bytes;
  return result;
}

void add_experts(const GgufTensor& tensor, std::string_view layer, std::string_view name,
                 std::map<std::string, StoredTensor>& out) {
  const int64_t experts = tensor.shape[0];
  const size_t bytes = tensor.bytes.size() / static_cast<size_t>(experts);
  StoredTensor one = stored(tensor);
  one.shape.erase(one.shape.begin());
  for (int64_t e = 0; e < experts; ++e) {
    one.bytes = tensor.bytes.subspan(static_cast<size_t>(e) * bytes, bytes);
    out.emplace(fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, e, name), one);
  }
}

void add(const GgufTensor& tensor, std::map<std::string, StoredTensor>& out) {
  if (const auto name = look_up(kModelNames, tensor.name)) {
    out.emplace(*name, stored(tensor));
    return;
  }
  if (const auto layer = split_layer(tensor.name)) {
    const auto [number, rest] = *layer;
    if (const auto name = look_up(kLayerNames, rest)) {
      out.emplace(fmt::format("model.layers.{}.{}", number, *name), stored(tensor));
      return;
    }
    const auto stacked = look_up(kStackedNames, rest);
    constexpr int64_t kMostExperts = 4096;
    // Empty tensors could be made into any number of experts.
    if (stacked && tensor.shape.size() == 3 && !tensor.bytes.empty() &&
        tensor.shape[0] <= kMostExperts) {
      return add_experts(tensor, number, *stacked, out);
    }
  }
  out.emplace(tensor.name, stored(tensor));
}

}  // namespace

Result<std::map<std::string, StoredTensor>> read_gguf_tensors(std::span<const std::byte> bytes,
                                                              const std::string& path) {
  const GgufFile file = TRY(read_gguf(bytes, path));
  std::map<std::string, StoredTensor> tensors;
  for (const GgufTensor& tensor : file.tensors) add(tensor, tensors);
  return tensors;
}

}  // namespace fathom
