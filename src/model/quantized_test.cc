// Quantised weights as a whole model sees them: detection from flag, config and tensors; quantising
// on load; random weights in every format; the FP8 KV cache.
#include <gmock/gmock.h>

#include "model/test_checkpoint.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::shared_ptr<const FileSet> golden_files(const std::string& name) {
  return FileSet::folder(golden_folder(name)).value();
}

LoadOptions with_flag(const std::string& quantization, const std::string& torchao = "",
                      const std::string& head = "") {
  LoadOptions options{.max_positions = 512};
  options.quant = {quantization, torchao, head};
  return options;
}

// Mean |difference| of the prompts' log probabilities from the golden ones.
double mean_difference(Rig& rig, const Json& expected) {
  double sum = 0, count = 0;
  for (const char* sequence : {"len7", "len64"}) {
    const std::vector<int32_t> ids = golden_ids(expected, sequence);
    const auto logits = rig.run({{ids, 0, 0}});
    const Json& want = expected["modes"]["weights"]["sequences"][sequence]["input_token_logprobs"];
    for (size_t i = 1; i < ids.size(); ++i) {
      sum += std::abs(logprob(logits[i - 1], ids[i]) - want[i].get<double>());
      ++count;
    }
  }
  return sum / count;
}

TEST(QuantizeOnLoad, EveryFormatStaysNearThePlainModel) {
  const Json expected = golden_expected("v3-bf16");
  const struct {
    LoadOptions options;
    double mean;
  } cases[] = {
      {with_flag("", "", "int8"), 0.05},
      {with_flag("", "", "fp8"), 0.2},
      {with_flag("", "", "int4"), 0.6},
      {with_flag("fp8"), 0.35},
      {with_flag("w8a8_fp8"), 0.35},
      {with_flag("w8a8_int8"), 0.12},
      {with_flag("blockwise_int8"), 0.15},
      {with_flag("", "int8wo"), 0.12},
      {with_flag("", "int8dq"), 0.12},
      {with_flag("", "int4wo-32"), 1.0},  // random weights: nothing averages out
      {with_flag("", "int4wo-128"), 1.2},
      {with_flag("", "fp8wo"), 0.35},
      {with_flag("", "fp8dq-per_tensor"), 0.4},
      {with_flag("", "fp8dq-per_row"), 0.35},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.options.quant.quantization + c.options.quant.torchao + c.options.quant.head);
    Rig rig(golden_files("v3-bf16"), {.load = c.options});  // checks the promised bytes too
    const double mean = mean_difference(rig, expected);
    EXPECT_LT(mean, c.mean);
    EXPECT_GT(mean, 1e-4) << "nothing was quantised";
    // The same bits on another number of threads.
    Rig again(golden_files("v3-bf16"), {.threads = 3, .load = c.options});
    const std::vector<int32_t> ids = golden_ids(expected, "len7");
    EXPECT_EQ(rig.run({{ids, 0, 0}}), again.run({{ids, 0, 0}}));
  }
}

TEST(QuantizeOnLoad, TakesFewerBytes) {
  const auto files = golden_files("v3-bf16");
  const ModelConfig config = read_model_config(*files, "").value();
  const auto bytes = [&](const LoadOptions& options) {
    return summarize_weights(config, *files, options).value().bytes;
  };
  const int64_t plain = bytes(with_flag(""));
  EXPECT_LT(bytes(with_flag("fp8")), plain * 3 / 4);
  EXPECT_LT(bytes(with_flag("", "int4wo-64")), plain * 3 / 4);
}

TEST(QuantizeOnLoad, Fp8CheckpointsBecomeInt8) {
  const LoadOptions options = with_flag("w8a8_int8");
  Rig rig(golden_files("v3-fp8-block"), {.load = options});
  EXPECT_LT(mean_difference(rig, golden_expected("v3-fp8-block")), 0.15);
}

TEST(QuantizeOnLoad, AlsoFromFp16AndFp32) {
  const Json expected = golden_expected("v3-bf16");
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    EditableCheckpoint checkpoint("v3-bf16");
    checkpoint.convert(dtype);
    Rig rig(checkpoint.files(1), {.load = with_flag("w8a8_int8")});
    EXPECT_LT(mean_difference(rig, expected), 0.12);
  }
}

TEST(Detection, WithoutConfigTheTensorsDecide) {
  for (const char* name :
       {"v3-fp8-block", "v3-int8-channel", "v3-int8-block", "v3-awq", "v3-gptq", "v3-nvfp4"}) {
    SCOPED_TRACE(name);
    const std::vector<int32_t> ids = golden_ids(golden_expected(name), "len7");
    EditableCheckpoint checkpoint(name);
    checkpoint.config.erase("quantization_config");
    Rig healed(checkpoint.files(), {});
    Rig right(golden_files(name), {});
    EXPECT_EQ(healed.run({{ids, 0, 0}}), right.run({{ids, 0, 0}}));
  }
}

TEST(Detection, CompanionFilesAreRead) {
  const auto method = [](const char* file, const std::string& content) {
    EditableCheckpoint checkpoint("v3-bf16");
    checkpoint.memory.put(file, content);
    const auto config = read_model_config(*checkpoint.files(), "");
    return config ? config->quant.method + " " + std::to_string(config->quant.group_size)
                  : config.error().message;
  };
  EXPECT_EQ(method("hf_quant_config.json",
                   R"({"producer":{},"quantization":{"quant_algo":"NVFP4","group_size":16}})"),
            "modelopt_fp4 0");
  EXPECT_EQ(method("hf_quant_config.json", R"({"quantization":{"quant_algo":"FP8"}})"),
            "modelopt_fp8 0");
  EXPECT_EQ(method("hf_quant_config.json", R"({"quantization":{"quant_algo":"MIXED_PRECISION"}})"),
            "modelopt_mixed 0");
  EXPECT_EQ(method("quant_config.json", R"({"zero_point":true,"q_group_size":64,"w_bit":4})"),
            "awq 64");
  EXPECT_EQ(method("quantize_config.json", R"({"bits":4,"group_size":128,"desc_act":true})"),
            "gptq 128");
  EXPECT_THAT(method("quant_config.json", "[]"), HasSubstr("quant_config.json"));
}

TEST(Detection, ContradictionsNameBothSides) {
  const auto error = [](const char* name, const Json& config) {
    EditableCheckpoint checkpoint(name);
    checkpoint.config["quantization_config"] = config;
    return load_error(*checkpoint.files());
  };
  EXPECT_THAT(
      error("v3-gptq", {{"quant_method", "awq"}, {"group_size", 64}}),
      AllOf(HasSubstr("names quantization method 'awq'"), HasSubstr("has the tensors of 'gptq'"),
            HasSubstr("model.layers.0."), HasSubstr("quant_method")));
  EXPECT_THAT(error("v3-int8-block", {{"quant_method", "fp8"}}),
              HasSubstr("has the tensors of 'blockwise_int8'"));
  EXPECT_THAT(error("v3-awq", {{"quant_method", "bitsandbytes"}}),
              AllOf(HasSubstr("quantization method 'bitsandbytes' is not supported"),
                    HasSubstr("config.json: quantization_config"), HasSubstr("awq")));
  EXPECT_EQ(error("v3-bf16", {{"quant_method", "bitsandbytes"}}), "no error") << "left over";
}

TEST(Detection, Flag) {
  const auto error = [](const char* name, const std::string& flag,
                        const std::string& torchao = "") {
    return load_error(*golden_files(name), with_flag(flag, torchao));
  };
  for (const auto& [name, flag] :
       std::vector<std::pair<const char*, const char*>>{{"v3-fp8-block", "fp8"},
                                                        {"v3-int8-channel", "w8a8_int8"},
                                                        {"v3-int8-block", "blockwise_int8"},
                                                        {"v3-awq", "awq"},
                                                        {"v3-awq", "awq_marlin"},
                                                        {"v3-awq", "moe_wna16"},
                                                        {"v3-gptq", "gptq"},
                                                        {"v3-gptq", "gptq_marlin"},
                                                        {"v3-gptq", "moe_wna16"},
                                                        {"v3-nvfp4", "modelopt_fp4"},
                                                        {"v3-nvfp4", "modelopt"}}) {
    EXPECT_EQ(error(name, flag), "no error") << name << " " << flag;
  }
  EXPECT_EQ(error("v3-fp8-block", "awq"),
            "Quantization method specified in the model config (fp8) does not match the "
            "quantization method specified in the `quantization` argument (awq).");
  EXPECT_THAT(error("v3-awq", "gptq"), HasSubstr("the model config (awq)"));
  EXPECT_THAT(error("v3-int8-channel", "awq"),
              AllOf(HasSubstr("--quantization awq"), HasSubstr("tensors of 'w8a8_int8'")));
  EXPECT_THAT(error("v3-bf16", "awq"),
              AllOf(HasSubstr("are plain"), HasSubstr("fathom convert"), HasSubstr("fp8")));
  EXPECT_THAT(error("v3-bf16", "mxfp4"), HasSubstr("quantization method 'mxfp4' is not supported"));
  EXPECT_THAT(error("v3-bf16", "", "int3wo"), AllOf(HasSubstr("int3wo"), HasSubstr("int8wo")));
  EXPECT_THAT(error("v3-bf16", "fp8", "int8wo"), HasSubstr("exclude each other"));
  EXPECT_THAT(error("v3-fp8-block", "", "int8wo"), HasSubstr("already quantised (fp8)"));
  LoadOptions dummy = with_flag("nonsense");
  dummy.load_format = "dummy";
  EXPECT_THAT(load_error(*golden_files("v3-bf16"), dummy),
              HasSubstr("'nonsense' is not supported"));
}

TEST(Dummy, EveryMethodGivesFiniteLogits) {
  for (const char* method :
       {"fp8", "w8a8_fp8", "w8a8_int8", "blockwise_int8", "awq", "gptq", "moe_wna16", "modelopt",
        "modelopt_fp4", "modelopt_fp8", "compressed-tensors"}) {
    SCOPED_TRACE(method);
    Rig::Options options{.load = with_flag(method)};
    options.load.load_format = "dummy";
    Rig rig(golden_files("v3-bf16"), options);
    double squares = 0, count = 0;
    for (const auto& row : rig.run({{{1, 2, 3, 50, 60}, 0, 0}})) {
      for (const float l : row) {
        ASSERT_TRUE(std::isfinite(l));
        squares += double{l} * l;
        ++count;
      }
    }
    EXPECT_GT(std::sqrt(squares / count), 0.5);
    EXPECT_LT(std::sqrt(squares / count), 2);
  }
}

TEST(Dummy, ExcludedModulesStayPlain) {
  EditableCheckpoint checkpoint("v3-bf16");
  const auto bytes = [&](const Json& ignore) {
    checkpoint.config["quantization_config"] = {{"quant_method", "fp8"},
                                                {"ignored_layers", ignore}};
    const auto files = checkpoint.files();
    const ModelConfig config = read_model_config(*files, "").value();
    return summarize_weights(config, *files, {.load_format = "dummy"}).value().bytes;
  };
  const int64_t all = bytes(Json::array());
  EXPECT_GT(bytes({"self_attn"}), all);
  EXPECT_GT(bytes({"re:.*mlp.*"}), all);
  EXPECT_EQ(bytes({"mlp.gate", "lm_head"}), all) << "these never are";
}

TEST(KvCache, Fp8StaysNearAndHonoursScales) {
  const Json expected = golden_expected("v3-bf16");
  for (const std::string& target : model_targets()) {
    SCOPED_TRACE(target);
    const auto mean = [&](KvFormat format, const std::shared_ptr<const FileSet>& files) {
      Rig rig(files, {.target = target, .kv = format});
      return mean_difference(rig, expected);
    };
    const auto files = golden_files("v3-bf16");
    EXPECT_LT(mean(KvFormat::kF8E4M3, files), 0.4);
    EXPECT_LT(mean(KvFormat::kF8E5M2, files), 0.8);
    EditableCheckpoint scaled("v3-bf16");
    const float scale = 1.0f / 64, small = 1.0f / 128;
    for (int l = 0; l < 3; ++l) {
      const std::string p = "model.layers." + std::to_string(l) + ".self_attn.";
      scaled.tensors[p + "k_proj.k_scale"] = {
          DType::kF32, {}, std::string(reinterpret_cast<const char*>(&scale), 4)};
      scaled.tensors[p + "v_proj.v_scale"] = {
          DType::kF32, {1}, std::string(reinterpret_cast<const char*>(&small), 4)};
    }
    EXPECT_LT(mean(KvFormat::kF8E4M3, scaled.files()), 0.4);
    // BF16 does not need them.
    EXPECT_EQ(mean(KvFormat::kBF16, scaled.files()), mean(KvFormat::kBF16, files));
  }
}

TEST(KvCache, WrongScalesAreNamed) {
  EditableCheckpoint checkpoint("v3-bf16");
  const std::string name = "model.layers.1.self_attn.k_proj.k_scale";
  for (const float bad : {0.0f, -1.0f, NAN}) {
    checkpoint.tensors[name] = {
        DType::kF32, {}, std::string(reinterpret_cast<const char*>(&bad), 4)};
    EXPECT_THAT(load_error(*checkpoint.files()),
                AllOf(HasSubstr(name), HasSubstr("expected one positive number")));
  }
}

}  // namespace
}  // namespace fathom
