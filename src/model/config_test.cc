#include "model/config.h"

#include <gmock/gmock.h>

#include "base/json.h"

namespace fathom {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Json v3() {
  return Json::parse(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
    "hidden_size": 7168, "num_hidden_layers": 61, "first_k_dense_replace": 3, "moe_layer_freq": 1,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
    "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": true,
    "routed_scaling_factor": 2.5, "num_attention_heads": 128, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "vocab_size": 129280, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096,
      "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "max_position_embeddings": 163840, "num_nextn_predict_layers": 1,
    "tie_word_embeddings": false, "attention_bias": false, "hidden_act": "silu",
    "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128],
      "activation_scheme": "dynamic", "fmt": "e4m3"}})");
}

Json with(Json json, const Json& changes) {
  json.update(changes);
  return json;
}

ModelConfig parse(const Json& json, const std::string& generation = "") {
  const auto config = ModelConfig::parse(json.dump(), generation, "");
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig{});
}

std::string error_of(const Json& json, const std::string& generation = "") {
  const auto config = ModelConfig::parse(json.dump(), generation, "");
  return config ? "no error" : config.error().message;
}

TEST(ModelConfig, V3) {
  const ModelConfig c = parse(v3());
  EXPECT_EQ(c.hidden, 7168);
  EXPECT_EQ(c.max_position, 163840) << "not multiplied by YaRN's factor";
  EXPECT_NEAR(c.softmax_scale(), 0.1352337788608801, 1e-8);
  EXPECT_FALSE(c.is_moe_layer(2));
  EXPECT_TRUE(c.is_moe_layer(3));
  EXPECT_TRUE(c.gate.sigmoid && c.gate.group_by_top2 && c.gate.normalize && c.gate_has_bias);
  EXPECT_EQ(c.gate.groups, 8);
  EXPECT_EQ(c.gate.top_groups, 4);
  EXPECT_EQ(c.gate.scale, 2.5f);
  EXPECT_EQ(c.quant.method, "fp8");
  EXPECT_EQ(c.mtp_layers, 1);
  EXPECT_THAT(c.eos_tokens, ElementsAre(1));
}

TEST(ModelConfig, V2Lite) {
  const ModelConfig c = parse(with(v3(), {{"architectures", {"DeepseekV2ForCausalLM"}},
                                          {"q_lora_rank", nullptr},
                                          {"n_group", 1},
                                          {"topk_group", 1},
                                          {"topk_method", "greedy"},
                                          {"scoring_func", "softmax"},
                                          {"norm_topk_prob", false},
                                          {"rope_scaling",
                                           {{"rope_type", "yarn"},
                                            {"factor", 40},
                                            {"original_max_position_embeddings", 4096},
                                            {"mscale", 0.707},
                                            {"mscale_all_dim", 0.707}}}}));
  EXPECT_EQ(c.q_lora_rank, 0);
  EXPECT_NEAR(c.softmax_scale(), 0.1147213867929261, 1e-8);
  EXPECT_FALSE(c.gate.sigmoid || c.gate.group_by_top2 || c.gate.normalize || c.gate_has_bias);
  EXPECT_EQ(c.gate.groups, 1);
}

TEST(ModelConfig, Moonlight) {
  const ModelConfig c = parse(with(v3(), {{"q_lora_rank", nullptr},
                                          {"n_group", 1},
                                          {"topk_group", 1},
                                          {"n_routed_experts", 64},
                                          {"num_experts_per_tok", 6},
                                          {"rope_scaling", nullptr},
                                          {"rope_theta", 50000.0},
                                          {"quantization_config", nullptr}}));
  EXPECT_FALSE(c.yarn);
  EXPECT_NEAR(c.softmax_scale(), 0.0721687836, 1e-8);
  EXPECT_TRUE(c.gate_has_bias);
  EXPECT_EQ(c.quant.method, "");
}

TEST(ModelConfig, MissingFieldsOfTheGateFollowTheArchitecture) {
  Json json = v3();
  for (const char* field : {"topk_method", "scoring_func", "norm_topk_prob", "n_shared_experts",
                            "routed_scaling_factor"}) {
    json.erase(field);
  }
  const ModelConfig three = parse(json);
  EXPECT_TRUE(three.gate.sigmoid && three.gate_has_bias);
  EXPECT_FALSE(three.gate.normalize);
  EXPECT_EQ(three.gate.scale, 1.0f);
  EXPECT_EQ(three.shared_experts, 0);
  const ModelConfig two = parse(with(json, {{"architectures", {"DeepseekV2ForCausalLM"}}}));
  EXPECT_FALSE(two.gate.sigmoid || two.gate_has_bias);
  EXPECT_EQ(two.gate.groups, 8);
}

TEST(ModelConfig, RopeParametersOfNewerFiles) {
  Json json = v3();
  json["rope_parameters"] = json["rope_scaling"];
  json["rope_parameters"]["rope_theta"] = 20000;
  json["rope_scaling"] = nullptr;
  const ModelConfig c = parse(json);
  ASSERT_TRUE(c.yarn);
  EXPECT_EQ(c.yarn->factor, 40);
  EXPECT_EQ(c.rope_theta, 20000);
}

TEST(ModelConfig, YarnNeedsItsType) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    Json json = v3();
    json.erase("rope_scaling");
    json[key] = {{"factor", 40}, {"original_max_position_embeddings", 4096}};
    EXPECT_EQ(error_of(json), fmt::format("config.json: {}: \"factor\" needs a \"type\" (or "
                                          "\"rope_type\") beside it, found 40",
                                          key));
    json[key] = {{"mscale_all_dim", 1}};
    EXPECT_THAT(error_of(json), HasSubstr("\"mscale_all_dim\" needs a \"type\""));
    json[key] = {{"rope_theta", 20000}};
    EXPECT_FALSE(parse(json).yarn);
    EXPECT_EQ(parse(json).rope_theta, 20000);
  }
}

TEST(ModelConfig, GenerationConfig) {
  const ModelConfig c =
      parse(v3(), R"({"eos_token_id": [1, 7], "temperature": 0.6, "top_p": 0.95, "top_k": 20})");
  EXPECT_THAT(c.eos_tokens, ElementsAre(1, 7));
  EXPECT_EQ(c.generation.temperature, 0.6);
  EXPECT_EQ(c.generation.top_p, 0.95);
  EXPECT_EQ(c.generation.top_k, 20);
  EXPECT_FALSE(c.generation.min_p);
  EXPECT_THAT(error_of(v3(), R"({"eos_token_id": "x"})"),
              HasSubstr("generation_config.json: \"eos_token_id\""));
  EXPECT_THAT(error_of(v3(), "["), HasSubstr("generation_config.json: not a JSON object"));
}

TEST(ModelConfig, Override) {
  const auto c = ModelConfig::parse(v3().dump(), "", R"({"num_hidden_layers": 5})");
  EXPECT_EQ(c.value().layers, 5);
  const auto dense = ModelConfig::parse(v3().dump(), "", R"({"num_hidden_layers": 2})");
  ASSERT_TRUE(dense) << dense.error().message;
  EXPECT_FALSE(dense->is_moe_layer(1)) << "fewer layers than first_k_dense_replace";
  EXPECT_THAT(ModelConfig::parse(v3().dump(), "", "5").error().message,
              HasSubstr("--json-model-override-args"));
}

TEST(ModelConfig, UnsupportedArchitecture) {
  const auto error = [](const Json& names) {
    return error_of(with(v3(), {{"architectures", names}}));
  };
  EXPECT_THAT(error({"LlamaForCausalLM"}),
              HasSubstr("Model architectures ['LlamaForCausalLM'] are not supported"));
  for (const Json& names : {Json(), Json(5), Json::array(), Json::array({1}), Json::object()}) {
    EXPECT_THAT(error(names), HasSubstr("are not supported"));
  }
}

TEST(ModelConfig, EveryNeededFieldIsNamedWhenMissing) {
  for (const char* field :
       {"hidden_size", "num_hidden_layers", "intermediate_size", "moe_intermediate_size",
        "num_experts_per_tok", "num_attention_heads", "kv_lora_rank", "qk_nope_head_dim",
        "qk_rope_head_dim", "v_head_dim", "vocab_size", "max_position_embeddings"}) {
    Json json = v3();
    json.erase(field);
    EXPECT_EQ(error_of(json), fmt::format("config.json: field \"{}\" is missing", field));
    for (const Json& wrong :
         {Json("8"), Json(-1), Json(1.5), Json(1e18), Json::array(), Json(true)}) {
      EXPECT_THAT(error_of(with(v3(), {{field, wrong}})), HasSubstr(fmt::format("\"{}\"", field)))
          << wrong;
    }
  }
}

TEST(ModelConfig, WrongValues) {
  const auto error = [](const Json& changes) { return error_of(with(v3(), changes)); };
  EXPECT_THAT(error({{"qk_rope_head_dim", 63}}), HasSubstr("must be even"));
  EXPECT_THAT(error({{"rope_theta", 1}}), HasSubstr("\"rope_theta\" must be in [2,"));
  EXPECT_THAT(error({{"rope_interleave", false}}), HasSubstr("rope_interleave"));
  EXPECT_THAT(error({{"attention_bias", true}}), HasSubstr("attention_bias"));
  EXPECT_THAT(error({{"hidden_act", "gelu"}}), HasSubstr("hidden_act"));
  EXPECT_THAT(error({{"n_group", 7}}), HasSubstr("must divide n_routed_experts"));
  EXPECT_THAT(error({{"n_group", 0}}), HasSubstr("n_group"));
  EXPECT_THAT(error({{"topk_group", 9}}), HasSubstr("must not exceed n_group"));
  EXPECT_THAT(error({{"n_group", 256}}), HasSubstr("must leave num_experts_per_tok experts"));
  EXPECT_THAT(error({{"num_experts_per_tok", 257}}), HasSubstr("num_experts_per_tok"));
  EXPECT_THAT(error({{"topk_method", "best"}}), HasSubstr("topk_method"));
  EXPECT_THAT(error({{"scoring_func", "relu"}}), HasSubstr("scoring_func"));
  EXPECT_THAT(error({{"eos_token_id", -1}}), HasSubstr("eos_token_id"));
  EXPECT_THAT(error({{"eos_token_id", 1 << 24}}), HasSubstr("eos_token_id 16777216 of config.json"));
  EXPECT_THAT(error({{"rope_scaling", 5}}), HasSubstr("\"rope_scaling\" must be an object"));
  EXPECT_THAT(error({{"rope_scaling", {{"type", "linear"}}}}), HasSubstr("must be \"yarn\""));
  EXPECT_THAT(error({{"rope_scaling", {{"type", "yarn"}}}}),
              HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(error({{"quantization_config", 5}}), HasSubstr("quantization_config"));
  for (const Json& block : {Json({128, "x"}), Json({128}), Json({0, 128}), Json({128, 100}),
                            Json({128, 1u << 31}), Json(128), Json({-1, 128})}) {
    EXPECT_THAT(error({{"quantization_config", {{"weight_block_size", block}}}}),
                HasSubstr("\"weight_block_size\" must be two sizes"))
        << block;
  }
}

TEST(ModelConfig, HostileText) {
  const auto error = [](const std::string& text) {
    const auto config = ModelConfig::parse(text, "", "");
    return config ? "no error" : config.error().message;
  };
  EXPECT_THAT(error(""), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("null"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("{\"a\": \"\xff\"}"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("{\"a\":" + std::string(1'000'000, '[')), HasSubstr("nested more than"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_THAT(error(deep), HasSubstr("nested more than"));
  EXPECT_THAT(error(R"({"hidden_size": 1, "hidden_size": 2})"),
              HasSubstr("\"hidden_size\" is there twice"));
  EXPECT_THAT(error(R"({"rope_scaling": {"factor": 1, "factor": 2}})"), HasSubstr("\"factor\""));
  EXPECT_THAT(error(R"({"a": {"x": 1}, "b": {"x": 1}})"), HasSubstr("are not supported"))
      << "the same name in two objects is fine";
}

}  // namespace
}  // namespace fathom
