// Metadata of architecture deepseek2 -> config.json. The conventions are those of llama.cpp's
// converter and loader.
#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/log.h"
#include "weights/gguf/model_files.h"

namespace fathom {
namespace {

constexpr std::string_view kArchitecture = "deepseek2";

// The metadata of one architecture; remembers the keys that it lacks.
class Metadata {
 public:
  explicit Metadata(const GgufFile& model) : model_(model) {}

  std::optional<int64_t> integer(std::string_view name) const {
    // Beyond any that ModelConfig accepts, so that arithmetic on them is safe.
    constexpr int64_t kLargest = int64_t{1} << 40;
    const int64_t* value = model_.find<int64_t>(key(name));
    return value ? std::optional(std::clamp(*value, -kLargest, kLargest)) : std::nullopt;
  }
  std::optional<double> number(std::string_view name) const {
    if (const double* value = model_.find<double>(key(name))) return *value;
    if (const auto value = integer(name)) return static_cast<double>(*value);
    return std::nullopt;
  }
  bool flag(std::string_view name) const {
    const bool* value = model_.find<bool>(key(name));
    return value && *value;
  }
  std::string_view text(std::string_view name) const {
    const auto* value = model_.find<std::string_view>(key(name));
    return value ? *value : std::string_view();
  }
  int64_t needed(std::string_view name) {
    if (const auto value = integer(name)) return *value;
    missing_ += (missing_.empty() ? "" : ", ") + key(name);
    return 0;
  }
  const std::string& missing() const { return missing_; }

 private:
  static std::string key(std::string_view name) {
    return std::string(kArchitecture) + "." + std::string(name);
  }
  const GgufFile& model_;
  std::string missing_;
};

bool has_tensor(const GgufFile& model, std::string_view suffix) {
  return std::ranges::any_of(model.tensors,
                             [&](const GgufTensor& t) { return t.name.ends_with(suffix); });
}

int64_t vocab_size(const GgufFile& model, const Metadata& m) {
  for (const GgufTensor& tensor : model.tensors) {
    if (tensor.name == "token_embd.weight") return tensor.shape[0];
  }
  return m.integer("vocab_size").value_or(0);
}

// FP32 numbers of the file as the decimal numbers that they were before: 0.707 again, not
// 0.7070000171661377.
double decimal(double value) {
  return std::round(value * 1e6) / 1e6;
}

void add_attention(Metadata& m, Json& config) {
  const int64_t rope = m.needed("rope.dimension_count");
  // Files for the absorbed form give the head's own sizes under *_mla; key_length is then the
  // latent's.
  const auto key = m.integer("attention.key_length_mla");
  const auto value = m.integer("attention.value_length_mla");
  config["num_attention_heads"] = m.needed("attention.head_count");
  config["kv_lora_rank"] = m.needed("attention.kv_lora_rank");
  config["qk_rope_head_dim"] = rope;
  config["qk_nope_head_dim"] = (key ? *key : m.needed("attention.key_length")) - rope;
  config["v_head_dim"] = value ? *value : m.needed("attention.value_length");
  config["q_lora_rank"] = nullptr;
  if (const auto rank = m.integer("attention.q_lora_rank"); rank && *rank > 0) {
    config["q_lora_rank"] = *rank;
  }
  config["rope_theta"] = m.number("rope.freq_base").value_or(10000.0);
}

// llama.cpp scales the softmax by (1 + yarn_log_multiplier ln factor)^2, where the multiplier is
// 0.1 mscale_all_dim, and leaves cos and sin alone: mscale equal to mscale_all_dim says the same.
void add_yarn(const Metadata& m, Json& config) {
  const std::string_view type = m.text("rope.scaling.type");
  const double factor = m.number("rope.scaling.factor").value_or(1.0);
  if (type.empty() || type == "none" || (type == "linear" && factor == 1.0)) return;
  const double mscale = decimal(10 * m.number("rope.scaling.yarn_log_multiplier").value_or(0));
  config["rope_scaling"] = {
      {"type", type},
      {"factor", factor},
      {"original_max_position_embeddings", m.integer("rope.scaling.original_context_length")
                                               .value_or(m.integer("context_length").value_or(0))},
      {"beta_fast", m.number("rope.scaling.yarn_beta_fast").value_or(32)},
      {"beta_slow", m.number("rope.scaling.yarn_beta_slow").value_or(1)},
      {"mscale", mscale},
      {"mscale_all_dim", mscale}};
}

// Older files say nothing about expert groups, because llama.cpp ignored them. The two published
// models that have them are known by their number of experts.
void add_groups(const Metadata& m, int64_t experts, Json& config) {
  auto groups = m.integer("expert_group_count");
  auto top_groups = m.integer("expert_group_used_count");
  if (!groups && (experts == 256 || experts == 160)) {
    groups = 8;
    top_groups = experts == 256 ? 4 : 3;
    log::warn(
        "the GGUF does not say how its {} experts are grouped; taking {} groups of which {} "
        "are chosen, as DeepSeek's models with that many experts have",
        experts, *groups, *top_groups);
  }
  config["n_group"] = groups.value_or(1);
  config["topk_group"] = top_groups.value_or(1);
}

void add_experts(const GgufFile& model, Metadata& m, Json& config) {
  const int64_t experts = m.integer("expert_count").value_or(0);
  config["intermediate_size"] = m.needed("feed_forward_length");
  if (experts == 0) return;
  constexpr int64_t kSigmoid = 2;
  const bool sigmoid = m.integer("expert_gating_func").value_or(1) == kSigmoid;
  const bool bias = has_tensor(model, ".exp_probs_b.bias");
  config["n_routed_experts"] = experts;
  config["num_experts_per_tok"] = m.needed("expert_used_count");
  config["moe_intermediate_size"] = m.needed("expert_feed_forward_length");
  config["n_shared_experts"] = m.integer("expert_shared_count").value_or(0);
  config["first_k_dense_replace"] = m.integer("leading_dense_block_count").value_or(0);
  config["scoring_func"] = sigmoid ? "sigmoid" : "softmax";
  config["norm_topk_prob"] = m.flag("expert_weights_norm");
  const double scale = decimal(m.number("expert_weights_scale").value_or(0));
  config["routed_scaling_factor"] = scale == 0 ? 1.0 : scale;
  add_groups(m, experts, config);
  const bool grouped = config["n_group"].get<int64_t>() > 1;
  config["topk_method"] = bias ? "noaux_tc" : grouped ? "group_limited_greedy" : "greedy";
}

void add_tokens(const GgufFile& model, Json& config) {
  if (const auto* bos = model.find<int64_t>("tokenizer.ggml.bos_token_id")) {
    config["bos_token_id"] = *bos;
  }
  Json ends = Json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const auto* id = model.find<int64_t>(key);
    if (id && std::ranges::find(ends, Json(*id)) == ends.end()) ends.push_back(*id);
  }
  if (!ends.empty()) config["eos_token_id"] = ends;
}

}  // namespace

Result<std::string> config_json_of(const GgufFile& model) {
  const auto* architecture = model.find<std::string_view>("general.architecture");
  if (!architecture || *architecture != kArchitecture) {
    return fail(ErrorCode::kUnsupported,
                "general.architecture is '{}'; Fathom serves GGUF files of architecture '{}'",
                architecture ? *architecture : "(absent)", kArchitecture);
  }
  Metadata m(model);
  const bool v3 = m.integer("expert_gating_func").value_or(1) == 2;
  const int64_t mtp = m.integer("nextn_predict_layers").value_or(0);
  Json config = {{"architectures", {v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"}},
                 {"model_type", v3 ? "deepseek_v3" : "deepseek_v2"},
                 {"torch_dtype", "bfloat16"},
                 {"hidden_act", "silu"},
                 {"hidden_size", m.needed("embedding_length")},
                 {"num_hidden_layers", m.needed("block_count") - mtp},
                 {"num_nextn_predict_layers", mtp},
                 {"vocab_size", vocab_size(model, m)},
                 {"max_position_embeddings", m.needed("context_length")},
                 {"rms_norm_eps", m.number("attention.layer_norm_rms_epsilon").value_or(1e-6)},
                 {"tie_word_embeddings", !has_tensor(model, "output.weight")}};
  add_attention(m, config);
  add_yarn(m, config);
  add_experts(model, m, config);
  add_tokens(model, config);
  if (!m.missing().empty()) return invalid("metadata that is needed is missing: {}", m.missing());
  return json_text(config, 2);
}

std::string generation_json_of(const GgufFile& model) {
  Json json = Json::object();
  const std::pair<const char*, const char*> numbers[] = {{"general.sampling.temp", "temperature"},
                                                         {"general.sampling.top_p", "top_p"},
                                                         {"general.sampling.min_p", "min_p"}};
  for (const auto& [key, name] : numbers) {
    if (const double* value = model.find<double>(key)) json[name] = decimal(*value);
  }
  if (const auto* top_k = model.find<int64_t>("general.sampling.top_k")) json["top_k"] = *top_k;
  return json_text(json, 2);
}

}  // namespace fathom
