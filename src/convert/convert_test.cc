// Pieces of conversion that end-to-end tests see only from outside: rounding to 4 bits, the writer.
#include "convert/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "convert/calibrate.h"
#include "convert/int4.h"
#include "convert/shard_writer.h"
#include "weights/safetensors.h"

namespace fathom::convert {
namespace {

namespace fs = std::filesystem;

double error_of(const std::vector<float>& x, const Int4Group& group,
                const std::vector<uint8_t>& codes) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float value =
        (static_cast<float>(codes[i]) - static_cast<float>(group.zero)) * group.scale;
    sum += std::pow(double{value} - x[i], 2);
  }
  return sum;
}

TEST(Int4Group, KeepsWhatFits) {
  std::vector<float> x;
  for (int code = 0; code < 16; ++code) x.push_back(0.25f * static_cast<float>(code - 5));
  std::vector<uint8_t> codes(x.size());
  const Int4Group group = quantize_int4_group(x.data(), 16, nullptr, codes.data());
  EXPECT_EQ(group.scale, 0.25f);
  EXPECT_EQ(group.zero, 5);
  EXPECT_EQ(group.error, 0);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(codes[static_cast<size_t>(i)], i);
}

TEST(Int4Group, ZeroStaysZeroAndOneOutlierDoesNotSpoilTheRest) {
  std::vector<float> x(64, 0.0f);
  std::vector<uint8_t> codes(x.size());
  EXPECT_EQ(quantize_int4_group(x.data(), 64, nullptr, codes.data()).error, 0);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  x[7] = 3;
  const Int4Group even = quantize_int4_group(x.data(), 64, nullptr, codes.data());
  EXPECT_NEAR(error_of(x, even, codes), even.error, 1e-6);
  // Nobody cares for the outlier: the range shrinks, the others gain.
  std::vector<float> importance(x.size(), 1.0f);
  importance[7] = 0;
  const Int4Group weighted = quantize_int4_group(x.data(), 64, importance.data(), codes.data());
  EXPECT_LT(weighted.scale, even.scale);
}

TEST(NormBefore, KnowsWhatStandsBehindNorms) {
  const std::string attention = "model.layers.3.input_layernorm.weight";
  const std::string mlp = "model.layers.3.post_attention_layernorm.weight";
  EXPECT_EQ(norm_before("model.layers.3.self_attn.q_a_proj"), attention);
  EXPECT_EQ(norm_before("model.layers.3.self_attn.kv_a_proj_with_mqa"), attention);
  EXPECT_EQ(norm_before("model.layers.3.mlp.experts.12.up_proj"), mlp);
  EXPECT_EQ(norm_before("model.layers.3.mlp.shared_experts.gate_proj"), mlp);
  EXPECT_EQ(norm_before("model.layers.3.mlp.gate"), mlp);
  for (const char* other : {"self_attn.q_b_proj", "self_attn.o_proj", "mlp.down_proj",
                            "mlp.experts.0.down_proj", "eh_proj"}) {
    EXPECT_EQ(norm_before(std::string("model.layers.3.") + other), "") << other;
  }
  EXPECT_EQ(norm_before("lm_head"), "");
}

TEST(ShardWriter, AFileHasItsNameOnlyWhenItIsWhole) {
  const fs::path folder = fs::path(testing::TempDir()) / "shard_writer_test";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const fs::path path = folder / "model.safetensors";
  const std::vector<OutputTensor> tensors = {{"a", DType::kBF16, {2, 3}}, {"b", DType::kF32, {}}};
  const std::vector<std::byte> data(16, std::byte{7});
  {
    auto writer = ShardWriter::create(path, tensors);
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE(writer->write(std::span(data).first(10)));
    EXPECT_FALSE(writer->finish()) << "six bytes are missing";
    EXPECT_FALSE(fs::exists(path));
    ASSERT_TRUE(writer->write(std::span(data).subspan(10)));
    ASSERT_TRUE(writer->finish());
  }
  const auto files = FileSet::folder(folder).value();
  EXPECT_EQ(files->names(), std::vector<std::string>{"model.safetensors"});
  const FileBytes file = files->open("model.safetensors").value();
  const auto found = read_safetensors(file.bytes, file.path);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->at("a").describe(), "BF16 [2, 3]");
  EXPECT_EQ(found->at("b").bytes.size(), 4u);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace fathom::convert
