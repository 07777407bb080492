// The GGUF reader on files made in memory, right and wrong ones.
#include "weights/gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "base/json.h"
#include "tensor/float_formats.h"
#include "weights/checkpoint.h"
#include "weights/formats/format.h"
#include "weights/gguf/model_files.h"
#include "weights/gguf/tensor_names.h"
#include "weights/loader.h"
#include "weights/test_files.h"

namespace fathom {
namespace {

using testing::HasSubstr;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8 = 8;
constexpr uint32_t kUint32Type = 4;
constexpr uint32_t kFloatType = 6;
constexpr uint32_t kStringType = 8;
constexpr uint32_t kArrayType = 9;

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string text(std::string_view s) {
  return raw<uint64_t>(s.size()) + std::string(s);
}

struct GgufBuilder {
  std::string metadata, table, data;
  uint64_t entries = 0, tensors = 0;

  void value(std::string_view key, uint32_t type, const std::string& bytes) {
    metadata += text(key) + raw(type) + bytes;
    ++entries;
  }
  void integer(std::string_view key, uint32_t v) { value(key, kUint32Type, raw(v)); }
  void string(std::string_view key, std::string_view v) { value(key, kStringType, text(v)); }
  // Shape as the file has it: innermost first.
  void tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& shape,
              const std::string& bytes) {
    data.resize((data.size() + 31) / 32 * 32);
    table += text(name) + raw<uint32_t>(static_cast<uint32_t>(shape.size()));
    for (const uint64_t n : shape) table += raw(n);
    table += raw(type) + raw<uint64_t>(data.size());
    data += bytes;
    ++tensors;
  }
  std::string build() const {
    std::string file = "GGUF" + raw<uint32_t>(3) + raw(tensors) + raw(entries) + metadata + table;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data;
  }
};

Result<GgufFile> parse(const std::string& file) {
  return read_gguf(std::as_bytes(std::span(file)), "x.gguf");
}
std::string gguf_error(const std::string& file) {
  const auto parsed = parse(file);
  return parsed ? "" : parsed.error().message;
}

TEST(Gguf, ReadsMetadataAndTensors) {
  GgufBuilder b;
  b.integer("n", 7);
  b.value("f", kFloatType, raw(1.5f));
  b.string("s", "text");
  b.value("list", kArrayType, raw(kStringType) + raw<uint64_t>(2) + text("a") + text("bc"));
  b.tensor("t", kF32, {3, 2}, std::string(24, '\1'));
  const std::string bytes = b.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(*file->find<int64_t>("n"), 7);
  EXPECT_EQ(*file->find<double>("f"), 1.5);
  EXPECT_EQ(*file->find<std::string_view>("s"), "text");
  EXPECT_EQ(file->find<std::vector<std::string_view>>("list")->at(1), "bc");
  EXPECT_EQ(file->find<int64_t>("s"), nullptr);
  ASSERT_EQ(file->tensors.size(), 1u);
  EXPECT_EQ(file->tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file->tensors[0].bytes.size(), 24u);
}

TEST(Gguf, WrongFilesAreNamed) {
  EXPECT_THAT(gguf_error("GG"), HasSubstr("x.gguf: the file ends inside it"));
  EXPECT_THAT(gguf_error("GGML" + std::string(40, '\0')), HasSubstr("is not a GGUF file"));
  EXPECT_THAT(gguf_error("GGUF" + raw<uint32_t>(3) + raw<uint64_t>(1ull << 60) + raw<uint64_t>(0)),
              HasSubstr("announces 1152921504606846976 entries"));
  GgufBuilder list;
  list.value("big", kArrayType, raw(kStringType) + raw<uint64_t>(1ull << 60));
  EXPECT_THAT(gguf_error(list.build()), HasSubstr("metadata big: a list of 1152921504606846976"));
  GgufBuilder nested;
  nested.value("deep", kArrayType, raw(kArrayType) + raw<uint64_t>(1));
  EXPECT_THAT(gguf_error(nested.build()), HasSubstr("lists of lists"));
  GgufBuilder twice;
  twice.integer("k", 1);
  twice.integer("k", 2);
  EXPECT_THAT(gguf_error(twice.build()), HasSubstr("metadata k is there twice"));
  GgufBuilder zero;
  zero.integer("general.alignment", 0);
  EXPECT_THAT(gguf_error(zero.build()), HasSubstr("general.alignment is 0"));
}

TEST(Gguf, WrongTensorsAreNamed) {
  GgufBuilder outside;
  outside.tensor("t", kF32, {8}, std::string(16, '\0'));
  EXPECT_THAT(gguf_error(outside.build()), HasSubstr("tensor t: its 32 bytes at 0 are outside"));
  GgufBuilder huge;
  huge.tensor("t", kF32, {1ull << 40, 1ull << 40}, "");
  EXPECT_THAT(gguf_error(huge.build()),
              HasSubstr("tensor t: shape [1099511627776, 1099511627776]"));
  GgufBuilder odd;
  odd.tensor("t", kQ8, {33}, std::string(64, '\0'));
  EXPECT_THAT(gguf_error(odd.build()), HasSubstr("not a multiple of the 32 that a block of Q8_0"));
  GgufBuilder unknown;
  unknown.tensor("t", 99, {32}, std::string(64, '\0'));
  EXPECT_THAT(gguf_error(unknown.build()), HasSubstr("tensor t: has type 99"));
  GgufBuilder overlap;
  overlap.tensor("a", kF32, {16}, "");
  overlap.tensor("b", kF32, {16}, std::string(64, '\0'));
  EXPECT_THAT(gguf_error(overlap.build()), HasSubstr("tensors a and b overlap"));
}

// One block of Q8_0: scale 0.5, codes -16 ... 15.
std::string q8_block() {
  std::string block = raw(float_to_f16(0.5f));
  for (int i = 0; i < 32; ++i) block += static_cast<char>(i - 16);
  return block;
}

TEST(Gguf, BlocksBecomeMatricesUnderHuggingFaceNames) {
  GgufBuilder b;
  b.tensor("blk.3.ffn_up_exps.weight", kQ8, {32, 2, 2},
           q8_block() + q8_block() + q8_block() + q8_block());
  MemoryFiles memory;
  memory.put("x.gguf", b.build());
  const auto checkpoint = Checkpoint::open(*memory.files());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const std::string prefix = "model.layers.3.mlp.experts.1.up_proj";
  const Format* format = detect_format(**checkpoint, prefix);
  ASSERT_NE(format, nullptr);
  EXPECT_EQ(format->name, "gguf");
  const auto exec = Exec::create({.threads = 2, .cores = {}});
  const QuantConfig config;
  const StoredLinear linear{**checkpoint, prefix, 2, 32, config};
  const auto matrix = format->load(linear, *exec);
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix_bytes(matrix->view), matrix_bytes(format->describe(linear).value()));
  std::vector<float> values(64);
  dequantize(matrix->view, 0, 2, values.data());
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(values[static_cast<size_t>(i)], 0.5f * static_cast<float>(i % 32 - 16));
  EXPECT_THAT(format->load({**checkpoint, prefix, 2, 64, config}, *exec).error().message,
              HasSubstr("expected [2, 64], found Q8_0 [2, 32]"));
}

TEST(Gguf, ListsNoMoreThanAFewOfManyMissingParts) {
  std::string folder = (std::filesystem::temp_directory_path() / "fathom-gguf-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::ofstream(std::filesystem::path(folder) / "m-00001-of-99999.gguf") << "GGUF";
  const auto files = open_model_files(folder);
  std::filesystem::remove_all(folder);
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message,
              testing::AllOf(HasSubstr("99998 of the 99999 parts"),
                             HasSubstr("m-00021-of-99999.gguf ... and 99978 more")));
}

// attn_k_b and attn_v_b are kv_b_proj, both in use once it is loaded.
TEST(Gguf, SplitKvBIsOneLayer) {
  GgufBuilder b;
  b.tensor("blk.0.attn_k_b.weight", kF32, {1, 3, 2}, std::string(24, '\0'));
  b.tensor("blk.0.attn_v_b.weight", kF32, {3, 2, 2}, std::string(48, '\0'));
  MemoryFiles memory;
  memory.put("x.gguf", b.build());
  const auto checkpoint = Checkpoint::open(*memory.files()).value();
  const auto exec = Exec::create({.threads = 1, .cores = {}});
  const QuantConfig config;
  const QuantPlan plan;
  const FormatSurvey survey(*checkpoint);
  CheckpointLoader loader(*checkpoint, config, plan, survey, *exec);
  Matrix matrix;
  loader.linear("model.layers.0.self_attn.kv_b_proj", 6, 3, matrix);
  EXPECT_TRUE(loader.status("here"));
  EXPECT_THAT(loader.unvisited(), testing::IsEmpty());
}

TEST(Gguf, EmptyExpertsAndOddLayersKeepTheirNames) {
  GgufBuilder b;
  const std::string names[] = {"blk.0.ffn_up_exps.weight", "blk.007.attn_q.weight"};
  b.tensor(names[0], kF32, {256, 0, 4096}, "");
  b.tensor(names[1], kF32, {1, 1}, std::string(4, '\0'));
  b.tensor("blk.10.attn_q.weight", kF32, {1, 1}, std::string(4, '\0'));
  const std::string bytes = b.build();
  const auto tensors = read_gguf_tensors(std::as_bytes(std::span(bytes)), "x.gguf");
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->size(), 3u);
  for (const std::string& name : names) EXPECT_TRUE(tensors->contains(name)) << name;
  EXPECT_TRUE(tensors->contains("model.layers.10.self_attn.q_proj.weight"));
}

TEST(Gguf, ConfigNamesAllThatIsMissing) {
  GgufBuilder b;
  b.string("general.architecture", "deepseek2");
  b.integer("deepseek2.embedding_length", 64);
  const std::string bytes = b.build();
  const auto config = config_json_of(*parse(bytes));
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("deepseek2.block_count"));
  EXPECT_THAT(config.error().message, HasSubstr("deepseek2.attention.kv_lora_rank"));
}

TEST(Gguf, MergesAndTokensMustFit) {
  const auto list = [](const std::vector<std::string>& words) {
    std::string bytes = raw(kStringType) + raw<uint64_t>(words.size());
    for (const std::string& word : words) bytes += text(word);
    return bytes;
  };
  const auto error = [&](const std::vector<std::string>& tokens,
                         const std::vector<std::string>& merges) {
    GgufBuilder b;
    b.string("tokenizer.ggml.model", "gpt2");
    b.string("tokenizer.ggml.pre", "deepseek-v3");
    b.value("tokenizer.ggml.tokens", kArrayType, list(tokens));
    b.value("tokenizer.ggml.merges", kArrayType, list(merges));
    const std::string bytes = b.build();
    const auto json = tokenizer_json_of(*parse(bytes));
    return json ? std::string() : json.error().message;
  };
  EXPECT_EQ(error({"a", "b", "ab"}, {"a b"}), "");
  EXPECT_THAT(error({"a", "b", "ab"}, {"a c"}), HasSubstr("merges[0] needs a token"));
  EXPECT_THAT(error({"a", "b"}, {"a b"}), HasSubstr("merges[0] needs a token"));
  EXPECT_THAT(error({"a", "a"}, {}), HasSubstr("tokens[1] is 'a', which token 0 is already"));
  EXPECT_THAT(error({"a", "\xff"}, {}), HasSubstr("tokens[1] is not UTF-8"));
}

}  // namespace
}  // namespace fathom
