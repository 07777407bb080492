#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/json.h"

namespace fathom {
namespace {

// Reads fields of one JSON object; the first problem is kept and all later reads do nothing, so
// that parse() reads like a list of fields.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  bool has(const char* name) const { return json_.contains(name) && !json_[name].is_null(); }

  void integer(const char* name, int32_t& out, int64_t low, int64_t high) {
    if (!has(name)) return missing(name);
    optional_integer(name, out, low, high);
  }
  void optional_integer(const char* name, int32_t& out, int64_t low, int64_t high) {
    if (!has(name)) return;
    const Json& value = json_[name];
    const bool whole =
        value.is_number_integer() ||
        (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()) &&
         std::abs(value.get<double>()) < 1e15);
    if (!whole) return problem(name, "must be an integer");
    const double number = value.get<double>();
    if (number < static_cast<double>(low) || number > static_cast<double>(high)) {
      return problem(name, fmt::format("must be in [{}, {}]", low, high));
    }
    out = static_cast<int32_t>(number);
  }
  template <class Float>
  void number(const char* name, Float& out, double low, double high) {
    if (!has(name)) return;
    const Json& value = json_[name];
    if (!value.is_number()) return problem(name, "must be a number");
    const double number = value.get<double>();
    if (!(number >= low && number <= high)) {
      return problem(name, fmt::format("must be in [{}, {}]", low, high));
    }
    out = static_cast<Float>(number);
  }
  void boolean(const char* name, bool& out) {
    if (!has(name)) return;
    if (!json_[name].is_boolean()) return problem(name, "must be true or false");
    out = json_[name].get<bool>();
  }
  void string(const char* name, std::string& out) {
    if (!has(name)) return;
    if (!json_[name].is_string()) return problem(name, "must be a string");
    out = json_[name].get<std::string>();
  }
  // An integer or a list of them, appended.
  void integers(const char* name, std::vector<int32_t>& out) {
    if (!has(name)) return;
    const Json& value = json_[name];
    const Json list = value.is_array() ? value : Json::array({value});
    for (const Json& item : list) {
      if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > INT32_MAX) {
        return problem(name, "must be a token id or a list of them");
      }
      const int32_t id = item.get<int32_t>();
      if (std::find(out.begin(), out.end(), id) == out.end()) out.push_back(id);
    }
  }

  void missing(const char* name) {
    if (error_.empty()) error_ = fmt::format("{}: field \"{}\" is missing", where_, name);
  }
  void problem(const char* name, const std::string& what) {
    if (!error_.empty()) return;
    const std::string found = json_.contains(name) ? json_text(json_[name]).substr(0, 80) : "nothing";
    error_ = fmt::format("{}: \"{}\" {}, found {}", where_, name, what, found);
  }
  const Json& json() const { return json_; }
  Status status() const {
    if (error_.empty()) return {};
    return std::unexpected(Error{ErrorCode::kInvalid, error_});
  }

 private:
  const Json& json_;
  std::string where_;
  std::string error_;
};

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr double kMinTheta = 2;  // its logarithm is divided by
constexpr double kMaxTheta = 1e12;

// A JSON object without duplicate names, which JSON parsers of other programs read in other ways.
Result<Json> parse_object(std::string_view text, const char* where) {
  constexpr int kMaxDepth = 32;
  bool too_deep = false;
  std::string duplicate;
  std::vector<std::set<std::string>> names;  // of each object that is open
  const auto guard = [&](int depth, Json::parse_event_t event, Json& parsed) {
    too_deep |= depth > kMaxDepth;
    if (too_deep) return false;
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string& name = parsed.get_ref<const std::string&>();
      if (!names.back().insert(name).second) duplicate = name;
    }
    return true;
  };
  Json json = Json::parse(text, guard, /*allow_exceptions=*/false);
  if (too_deep) return invalid("{}: nested more than {} deep", where, kMaxDepth);
  if (!json.is_object()) return invalid("{}: not a JSON object", where);
  if (!duplicate.empty()) {
    return invalid("{}: field \"{}\" is there twice", where, duplicate.substr(0, 80));
  }
  return json;
}

Status check_architecture(const Json& json, ModelConfig& config) {
  const Json names = json.value("architectures", Json::array());
  config.architecture =
      names.is_array() && !names.empty() && names[0].is_string() ? names[0].get<std::string>() : "";
  if (config.architecture == "DeepseekV2ForCausalLM" ||
      config.architecture == "DeepseekV3ForCausalLM") {
    return {};
  }
  return fail(ErrorCode::kUnsupported,
              "Model architectures ['{}'] are not supported. Supported: DeepseekV2ForCausalLM, "
              "DeepseekV3ForCausalLM",
              config.architecture);
}

void read_attention(Fields& f, ModelConfig& c) {
  f.integer("num_attention_heads", c.heads, 1, 4096);
  f.optional_integer("q_lora_rank", c.q_lora_rank, 0, kMaxWidth);
  f.integer("kv_lora_rank", c.kv_lora_rank, 1, 65536);
  f.integer("qk_nope_head_dim", c.qk_nope, 1, 65536);
  f.integer("qk_rope_head_dim", c.qk_rope, 2, 4096);
  f.integer("v_head_dim", c.v_head, 1, 65536);
  f.number("rope_theta", c.rope_theta, kMinTheta, kMaxTheta);
  f.boolean("rope_interleave", c.rope_interleave);
  if (!c.rope_interleave) f.problem("rope_interleave", "must be true");
  if (c.qk_rope % 2) f.problem("qk_rope_head_dim", "must be even");
}

Status read_yarn(const Json& json, ModelConfig& c) {
  // transformers 5 writes rope_parameters in place of rope_scaling and rope_theta.
  const bool old_name = json.contains("rope_scaling") && !json["rope_scaling"].is_null();
  const char* key = old_name ? "rope_scaling" : "rope_parameters";
  if (!json.contains(key) || json[key].is_null()) return {};
  if (!json[key].is_object()) return invalid("config.json: \"{}\" must be an object", key);
  Fields f(json[key], fmt::format("config.json: {}", key));
  std::string type;
  f.string("type", type);
  f.string("rope_type", type);
  f.number("rope_theta", c.rope_theta, kMinTheta, kMaxTheta);
  if (type.empty()) {
    for (const char* name : {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow",
                             "mscale", "mscale_all_dim"}) {
      if (f.has(name)) f.problem(name, "needs a \"type\" (or \"rope_type\") beside it");
    }
  }
  if (type.empty() || type == "default") return f.status();
  if (type != "yarn" && type != "deepseek_yarn") {
    f.problem(json[key].contains("type") ? "type" : "rope_type", "must be \"yarn\"");
    return f.status();
  }
  YarnConfig yarn;
  f.number("factor", yarn.factor, 1, 1e6);
  f.integer("original_max_position_embeddings", yarn.original_max_position, 1, 1 << 30);
  f.number("beta_fast", yarn.beta_fast, 1e-6, 1e9);
  f.number("beta_slow", yarn.beta_slow, 1e-6, 1e9);
  f.number("mscale", yarn.mscale, 0, 1e3);
  f.number("mscale_all_dim", yarn.mscale_all_dim, 0, 1e3);
  c.yarn = yarn;
  return f.status();
}

void read_feed_forward(Fields& f, ModelConfig& c) {
  f.integer("intermediate_size", c.dense_intermediate, 1, kMaxWidth);
  GatePolicy& gate = c.gate;
  f.optional_integer("n_routed_experts", gate.experts, 0, 1024);
  if (gate.experts == 0) {
    c.first_dense_layers = c.layers;
    return;
  }
  f.integer("moe_intermediate_size", c.moe_intermediate, 1, kMaxWidth);
  f.integer("num_experts_per_tok", gate.top_k, 1, gate.experts);
  // May exceed the layers that are left of an overridden num_hidden_layers.
  f.optional_integer("first_k_dense_replace", c.first_dense_layers, 0, kMaxLayers);
  f.optional_integer("moe_layer_freq", c.moe_layer_freq, 1, 4096);
  f.optional_integer("n_shared_experts", c.shared_experts, 0, 1024);

  // The spec's defaults are softmax and the groups. A V3 config without the two keys is one that
  // transformers has saved: its DeepseekV3Config lacks them, for its code knows only sigmoid with the
  // correction bias (norm_topk_prob it always writes). DeepSeek's own configs have all of them.
  const bool v3 = c.architecture == "DeepseekV3ForCausalLM";
  std::string scoring = v3 ? "sigmoid" : "softmax";
  std::string method = v3 ? "noaux_tc" : f.has("n_group") ? "group_limited_greedy" : "greedy";
  f.string("scoring_func", scoring);
  f.string("topk_method", method);
  f.boolean("norm_topk_prob", gate.normalize);
  f.number("routed_scaling_factor", gate.scale, -1e6, 1e6);
  if (scoring != "softmax" && scoring != "sigmoid") {
    f.problem("scoring_func", "must be \"softmax\" or \"sigmoid\"");
  }
  if (method != "greedy" && method != "group_limited_greedy" && method != "noaux_tc") {
    f.problem("topk_method", "must be \"greedy\", \"group_limited_greedy\" or \"noaux_tc\"");
  }
  gate.sigmoid = scoring == "sigmoid";
  c.gate_has_bias = method == "noaux_tc";
  gate.group_by_top2 = method == "noaux_tc";
  if (method == "greedy") return;
  f.optional_integer("n_group", gate.groups, 1, 256);
  f.optional_integer("topk_group", gate.top_groups, 1, 256);
  if (gate.experts % gate.groups) f.problem("n_group", "must divide n_routed_experts");
  if (gate.top_groups > gate.groups) f.problem("topk_group", "must not exceed n_group");
  if (gate.top_groups * (gate.experts / gate.groups) < gate.top_k) {
    f.problem("topk_group", "must leave num_experts_per_tok experts");
  }
}

Status read_quantization(const Json& json, ModelConfig& c) {
  for (const char* name : {"quantization_config", "compression_config"}) {
    if (!json.contains(name) || json[name].is_null()) continue;
    c.quant = TRY(QuantConfig::parse(json_text(json[name]), fmt::format("config.json: {}", name)));
    return {};
  }
  return {};
}

Status read_generation(std::string_view text, ModelConfig& c) {
  if (text.empty()) return {};
  const Json json = TRY(parse_object(text, "generation_config.json"));
  Fields f(json, "generation_config.json");
  f.integers("eos_token_id", c.eos_tokens);
  const auto take = [&](const char* name, std::optional<double>& out, double low, double high) {
    if (!f.has(name)) return;
    double value = 0;
    f.number(name, value, low, high);
    out = value;
  };
  take("temperature", c.generation.temperature, 0, 1e4);
  take("top_p", c.generation.top_p, 0, 1);
  take("min_p", c.generation.min_p, 0, 1);
  take("repetition_penalty", c.generation.repetition_penalty, 0, 100);
  if (f.has("top_k")) {
    int32_t top_k = 0;
    f.optional_integer("top_k", top_k, -1, INT32_MAX);
    c.generation.top_k = top_k;
  }
  return f.status();
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

}  // namespace

float ModelConfig::softmax_scale() const {
  double scale = 1.0 / std::sqrt(static_cast<double>(qk_nope + qk_rope));
  if (yarn) {
    const double m = yarn_mscale(yarn->factor, yarn->mscale_all_dim);
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

bool ModelConfig::is_moe_layer(int32_t layer) const {
  return gate.experts > 0 && layer >= first_dense_layers && layer % moe_layer_freq == 0;
}

Result<ModelConfig> ModelConfig::parse(std::string_view config_json,
                                       std::string_view generation_json,
                                       std::string_view json_override) {
  Json json = TRY(parse_object(config_json, "config.json"));
  if (!json_override.empty()) {
    const Json extra = TRY(parse_object(json_override, "--json-model-override-args"));
    json.update(extra);
  }
  ModelConfig c;
  TRY(check_architecture(json, c));
  Fields f(json, "config.json");
  f.string("model_type", c.model_type);
  f.string("torch_dtype", c.torch_dtype);
  f.string("dtype", c.torch_dtype);
  f.integer("hidden_size", c.hidden, 1, kMaxWidth);
  f.integer("num_hidden_layers", c.layers, 1, kMaxLayers);
  f.integer("vocab_size", c.vocab_size, 1, 1 << 24);
  f.integer("max_position_embeddings", c.max_position, 1, 1 << 24);
  f.number("rms_norm_eps", c.rms_eps, 0, 1);
  f.boolean("tie_word_embeddings", c.tie_word_embeddings);
  f.optional_integer("num_nextn_predict_layers", c.mtp_layers, 0, 16);
  f.optional_integer("bos_token_id", c.bos_token, 0, INT32_MAX);
  f.integers("eos_token_id", c.eos_tokens);
  bool attention_bias = false;
  f.boolean("attention_bias", attention_bias);
  if (attention_bias) f.problem("attention_bias", "must be false: biases are not supported");
  std::string activation = "silu";
  f.string("hidden_act", activation);
  if (activation != "silu") f.problem("hidden_act", "must be \"silu\"");
  read_attention(f, c);
  TRY(f.status());
  read_feed_forward(f, c);
  TRY(f.status());
  TRY(read_yarn(json, c));
  TRY(read_quantization(json, c));
  TRY(read_generation(generation_json, c));
  for (const int32_t id : c.eos_tokens) {
    if (id >= c.vocab_size) {
      return invalid("eos_token_id {} of config.json or generation_config.json is not below the "
                     "vocab_size of {}", id, c.vocab_size);
    }
  }
  return c;
}

}  // namespace fathom
