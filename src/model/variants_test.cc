// Checkpoints that differ from the golden ones: other number types, damaged, incomplete, with
// left-over or contradicting quantisation; and random models of the family's other members.
#include <gmock/gmock.h>

#include "model/test_checkpoint.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Variants, Fp32AndFp16CheckpointsGiveTheGoldenLogprobs) {
  const Json expected = golden_expected("v3-bf16");
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    EditableCheckpoint checkpoint("v3-bf16");
    checkpoint.convert(dtype);
    for (const std::string& target : model_targets()) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + target);
      Rig rig(checkpoint.files(), {.target = target});
      expect_prompt_logprobs(rig, expected, dtype == DType::kF32 ? "fp32" : "bf16");
    }
  }
}

TEST(Variants, MisalignedFilesGiveTheSameBits) {
  const std::vector<int32_t> ids = golden_ids(golden_expected("v3-fp8-block"), "len64");
  EditableCheckpoint checkpoint("v3-fp8-block");
  Rig shifted(checkpoint.files(1), {});
  Rig aligned("v3-fp8-block", {});
  EXPECT_EQ(shifted.run({{ids, 0, 0}}), aligned.run({{ids, 0, 0}}));
}

TEST(Variants, LeftOverQuantizationConfigIsIgnored) {
  const std::vector<int32_t> ids = golden_ids(golden_expected("v3-bf16"), "len64");
  Rig plain("v3-bf16", {});
  for (const char* method : {"fp8", "awq"}) {
    EditableCheckpoint checkpoint("v3-bf16");
    checkpoint.config["quantization_config"] = {{"quant_method", method}};
    Rig rig(checkpoint.files(), {});
    EXPECT_EQ(rig.run({{ids, 0, 0}}), plain.run({{ids, 0, 0}}));
  }
}

TEST(Variants, Fp8WithoutQuantizationConfigIsDetected) {
  EditableCheckpoint checkpoint("v3-fp8-block");
  checkpoint.config.erase("quantization_config");
  Rig rig(checkpoint.files(), {});
  expect_prompt_logprobs(rig, golden_expected("v3-fp8-block"), "bf16");
}

TEST(Variants, AllProblemsOfACheckpointAtOnce) {
  EditableCheckpoint checkpoint("v3-bf16");
  checkpoint.tensors.erase("model.norm.weight");
  checkpoint.tensors.erase("model.layers.1.mlp.experts.3.up_proj.weight");
  checkpoint.tensors.erase("model.layers.1.mlp.gate.e_score_correction_bias");
  auto& head = checkpoint.tensors.at("lm_head.weight");
  std::swap(head.shape[0], head.shape[1]);
  checkpoint.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {DType::kF32, {1}, "abcd"};
  EXPECT_THAT(load_error(*checkpoint.files()),
              AllOf(HasSubstr("4 problem(s)"), HasSubstr("model.norm.weight [128] is missing"),
                    HasSubstr("model.layers.1.mlp.experts.3.up_proj.weight [32, 128] is missing"),
                    HasSubstr("model.layers.1.mlp.gate.e_score_correction_bias [16] is missing"),
                    HasSubstr("lm_head.weight: expected [384, 128], found BF16 [128, 384]"),
                    Not(HasSubstr("inv_freq"))));
}

TEST(Variants, TiedEmbeddingsNeedNoHead) {
  EditableCheckpoint tied("v3-bf16");
  tied.config["tie_word_embeddings"] = true;
  tied.tensors.erase("lm_head.weight");
  EditableCheckpoint copied("v3-bf16");
  copied.tensors["lm_head.weight"] = copied.tensors["model.embed_tokens.weight"];
  Rig a(tied.files(), {});
  Rig b(copied.files(), {});
  EXPECT_EQ(a.run({{{5, 6, 7}, 0, 0}}), b.run({{{5, 6, 7}, 0, 0}}));
  EXPECT_LT(a.model->weight_bytes(), b.model->weight_bytes());
  LoadOptions options;
  options.quant.head = "int8";
  EXPECT_THAT(load_error(*tied.files(), options), HasSubstr("--lm-head-dtype int8"));
}

TEST(Variants, AbsurdDummyModelsAreRefusedBeforeMemoryIsGone) {
  EditableCheckpoint checkpoint("v3-bf16");
  checkpoint.config["vocab_size"] = 1 << 24;
  checkpoint.config["hidden_size"] = 1 << 20;
  const auto config = read_model_config(*checkpoint.files(), "").value();
  EXPECT_GT(
      summarize_weights(config, *checkpoint.files(), {.load_format = "dummy"}).value().bytes,
      int64_t{1} << 46);
}

struct Member {
  const char* name;
  Json changes;
};

// Tiny models of the family's other members, with random weights.
class Members : public testing::TestWithParam<int> {
 protected:
  static Member member() {
    const Json fp8 = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
    const Member members[] = {
        {"moonlight",
         {{"q_lora_rank", nullptr},
          {"rope_scaling", nullptr},
          {"rope_theta", 50000},
          {"n_group", 1},
          {"topk_group", 1},
          {"n_shared_experts", 2}}},
        {"kimi_k2",
         {{"n_routed_experts", 384},
          {"num_experts_per_tok", 8},
          {"n_group", 1},
          {"topk_group", 1},
          {"moe_intermediate_size", 8},
          {"num_hidden_layers", 2},
          {"quantization_config", fp8}}},
        {"dense", {{"n_routed_experts", nullptr}}},
        {"every_second_layer", {{"moe_layer_freq", 2}, {"num_hidden_layers", 5}}},
        {"odd_sizes",
         {{"hidden_size", 77},
          {"kv_lora_rank", 19},
          {"qk_nope_head_dim", 9},
          {"v_head_dim", 11},
          {"qk_rope_head_dim", 6},
          {"intermediate_size", 45},
          {"moe_intermediate_size", 13},
          {"num_attention_heads", 3},
          {"q_lora_rank", 21},
          {"vocab_size", 101}}},
        {"odd_sizes_fp8",
         {{"hidden_size", 333},
          {"kv_lora_rank", 19},
          {"qk_nope_head_dim", 9},
          {"v_head_dim", 11},
          {"intermediate_size", 145},
          {"quantization_config", fp8}}},
    };
    return members[GetParam()];
  }
};

TEST_P(Members, RandomWeightsGiveFiniteLogitsOnEveryTarget) {
  EditableCheckpoint checkpoint("v3-bf16");
  checkpoint.config.update(member().changes);
  SCOPED_TRACE(member().name);
  const std::vector<int32_t> ids = {1, 100, 7, 7, 42, 0, 99, 3, 14, 15, 92, 65, 35, 89, 79, 32};
  for (const std::string& target : model_targets()) {
    SCOPED_TRACE(target);
    Rig::Options options{.target = target, .load = {.load_format = "dummy", .seed = 5}};
    options.load.max_positions = 64;
    Rig rig(checkpoint.files(), options);
    const auto logits = rig.run({{ids, 0, 0}});
    double squares = 0;
    for (const auto& row : logits) {
      for (const float l : row) {
        ASSERT_TRUE(std::isfinite(l));
        squares += double{l} * l;
      }
    }
    const double rms = std::sqrt(squares / static_cast<double>(logits.size() * logits[0].size()));
    EXPECT_GT(rms, 0.5);
    EXPECT_LT(rms, 2);

    // One row at a time, on another number of threads: the same bits.
    options.threads = 3;
    Rig again(checkpoint.files(), options);
    for (size_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(again.run({{{ids[i]}, static_cast<int32_t>(i), 0}})[0], logits[i]) << "row " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Members, testing::Range(0, 6));

}  // namespace
}  // namespace fathom
