// Every format's adapter: golden matrices as their makers store them give exactly the golden
// values, and every variant of a layout gives what it means; wrong tensors are named.
#include <gmock/gmock.h>

#include <cmath>
#include <functional>

#include "kernels/testing/golden.h"
#include "kernels/testing/matrices.h"
#include "weights/formats/format.h"
#include "weights/test_files.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

struct Part {
  DType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

// The tensors of one linear layer "x", which tests change.
struct Layer {
  std::map<std::string, Part> parts;
  int32_t out = 0, in = 0;
  QuantConfig config;

  struct Loaded {
    std::string format;
    MatrixView view;
    std::vector<float> values;
    std::string error;
    bool unsupported = false;
  };
  Loaded load(size_t shift = 0) const {
    SafetensorsBuilder builder;
    for (const auto& [name, part] : parts) {
      builder.add("x." + name, part.dtype, part.shape, part.bytes);
    }
    MemoryFiles memory;
    memory.put("model.safetensors", builder.build(shift));
    const auto checkpoint = Checkpoint::open(*memory.files()).value();
    const std::string prefix = "x";
    const Format* format = detect_format(*checkpoint, prefix);
    if (!format) return {.format = "", .view = {}, .values = {}, .error = "no format"};
    const auto exec = Exec::create({.threads = 3, .cores = {}});
    const StoredLinear linear{*checkpoint, prefix, out, in, config};
    Loaded loaded{.format = std::string(format->name), .view = {}, .values = {}, .error = ""};
    const auto described = format->describe(linear);
    const auto matrix = load_linear(*format, linear, *exec);
    if (!matrix) {
      loaded.error = matrix.error().message;
      loaded.unsupported = matrix.error().code == ErrorCode::kUnsupported;
      return loaded;
    }
    EXPECT_TRUE(described);
    EXPECT_EQ(matrix_bytes(*described), matrix_bytes(matrix->view)) << "as announced";
    loaded.view = matrix->view;
    loaded.values.resize(static_cast<size_t>(out) * static_cast<size_t>(in));
    dequantize(matrix->view, 0, out, loaded.values.data());
    return loaded;
  }
  std::string error() const { return load().error; }
};

Layer golden_layer(const std::string& name) {
  const Golden golden("gemm");
  Layer layer;
  layer.out = golden.about["n"];
  layer.in = golden.about["k"];
  const std::string prefix = name + "/w/";
  for (const std::string& full : golden.names(prefix)) {
    const std::vector<int32_t> shape = golden.shape(full);
    layer.parts[full.substr(prefix.size())] = {*dtype_from_safetensors(golden.dtype(full)),
                                               {shape.begin(), shape.end()},
                                               bytes_of(golden.get<uint8_t>(full))};
  }
  return layer;
}

class GoldenFormats : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(GoldenFormats, ValuesAreExact) {
  const auto& [name, format] = GetParam();
  const std::vector<float> want = Golden("gemm").get(std::string(name) + "/dequantised");
  for (const size_t shift : {0, 1}) {
    const Layer::Loaded loaded = golden_layer(name).load(shift);
    EXPECT_EQ(loaded.error, "");
    EXPECT_EQ(loaded.format, format);
    EXPECT_EQ(loaded.values, want) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenFormats,
    testing::Values(std::pair("fp8_block", "fp8"), std::pair("int8_channel", "w8a8_int8"),
                    std::pair("int8_block", "blockwise_int8"), std::pair("awq_group64", "awq"),
                    std::pair("awq_group128", "awq"), std::pair("gptq4_sym", "gptq"),
                    std::pair("gptq4_asym", "gptq"), std::pair("gptq8_sym", "gptq"),
                    std::pair("nvfp4", "modelopt_fp4")),
    [](const auto& info) { return std::string(info.param.first); });

// ---- FP8 and INT8

TEST(ScaledFormats, ScalesOfEveryShapeAndType) {
  const Layer blocks = golden_layer("fp8_block");
  const std::vector<float> codes = [&] {
    Layer layer = blocks;
    layer.parts.erase("weight_scale_inv");
    layer.parts["weight_scale"] = {DType::kF32, {}, bytes_of<float>({1})};
    return layer.load().values;
  }();
  const auto expect_scaled = [&](const std::string& part, DType dtype,
                                 const std::vector<int64_t>& shape, const std::string& bytes,
                                 const std::function<float(int32_t, int32_t)>& scale) {
    Layer layer = blocks;
    layer.parts.erase("weight_scale_inv");
    layer.parts[part] = {dtype, shape, bytes};
    const Layer::Loaded loaded = layer.load();
    ASSERT_EQ(loaded.error, "");
    for (int32_t n = 0; n < layer.out; ++n) {
      for (int32_t k = 0; k < layer.in; ++k) {
        const auto i = static_cast<size_t>(n * layer.in + k);
        ASSERT_EQ(loaded.values[i], codes[i] * scale(n, k)) << n << " " << k;
      }
    }
  };
  std::vector<float> rows(192);
  std::vector<uint16_t> halves;
  for (size_t n = 0; n < rows.size(); ++n) rows[n] = static_cast<float>(n + 1) / 64;
  for (const float row : rows) halves.push_back(float_to_bf16(row));
  const auto by_row = [&](int32_t n, int32_t) { return rows[static_cast<size_t>(n)]; };
  const auto by_rounded = [&](int32_t n, int32_t) {
    return bf16_to_float(halves[static_cast<size_t>(n)]);
  };
  expect_scaled("weight_scale", DType::kF32, {192}, bytes_of(rows), by_row);
  expect_scaled("weight_scale", DType::kF32, {192, 1}, bytes_of(rows), by_row);
  expect_scaled("weight_scale", DType::kBF16, {192, 1}, bytes_of(halves), by_rounded);
  const auto half = [](int32_t, int32_t) { return 0.5f; };
  expect_scaled("weight_scale", DType::kF32, {1}, bytes_of<float>({0.5f}), half);
  expect_scaled("weight_scale", DType::kF32, {1, 1}, bytes_of<float>({0.5f}), half);
  expect_scaled("weight_scale_inv", DType::kF32, {}, bytes_of<float>({0.5f}), half);
  const auto by_block = [](int32_t n, int32_t k) {
    return static_cast<float>(1 << (n / 128 * 2 + k / 128));
  };
  expect_scaled("weight_scale", DType::kF32, {2, 2}, bytes_of<float>({1, 2, 4, 8}), by_block);
  expect_scaled("weight_scale", DType::kF32, {2, 1, 2, 1}, bytes_of<float>({1, 2, 4, 8}), by_block);
  // ue8m0: 127 is 1.
  expect_scaled("weight_scale_inv", DType::kF8E8M0, {2, 2}, bytes_of<uint8_t>({127, 128, 129, 130}),
                by_block);
  std::vector<float> groups(192 * 4);
  for (size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<float>(i + 1) / 256;
  expect_scaled("weight_scale", DType::kF32, {192, 4}, bytes_of(groups),
                [&](int32_t n, int32_t k) { return groups[static_cast<size_t>(n * 4 + k / 64)]; });
}

TEST(ScaledFormats, WrongScalesAreNamed) {
  for (const auto& [name, part] :
       {std::pair("fp8_block", "weight_scale_inv"), std::pair("int8_block", "weight_scale_inv"),
        std::pair("int8_channel", "weight_scale")}) {
    SCOPED_TRACE(name);
    const Layer good = golden_layer(name);
    Layer layer = good;
    layer.parts.erase(part);
    EXPECT_THAT(layer.error(), AllOf(HasSubstr("x.weight_scale"), HasSubstr("is missing"),
                                     HasSubstr("needs its scales")));
    layer.parts[part] = {DType::kF32, {3, 5}, std::string(60, '\0')};
    EXPECT_THAT(layer.error(), AllOf(HasSubstr(std::string("x.") + part), HasSubstr("[2, 2]"),
                                     HasSubstr("found F32 [3, 5]")));
    for (const float bad : {NAN, INFINITY, -1.0f, 0.0f}) {
      layer = good;
      std::string& bytes = layer.parts.at(part).bytes;
      std::memcpy(bytes.data() + 4, &bad, 4);
      EXPECT_THAT(layer.error(), AllOf(HasSubstr(std::string("x.") + part), HasSubstr("scale 1 is"),
                                       HasSubstr("positive and finite")));
    }
    // Where all codes are zero a zero scale says nothing wrong.
    layer = good;
    for (auto& c : layer.parts.at("weight").bytes) c = 0;
    std::ranges::fill(layer.parts.at(part).bytes, '\0');
    EXPECT_EQ(layer.error(), "");
    layer = good;
    layer.out = 200;
    EXPECT_THAT(layer.error(), AllOf(HasSubstr("x.weight"), HasSubstr("expected [200, 256]")));
  }
}

// What changes a layer's output, and is read nowhere.
TEST(Formats, TensorsThatChangeTheOutputAreRefused) {
  const auto expect_zeros_only = [](Layer layer, const std::string& part, const Part& zeros) {
    const std::vector<float> want = layer.load().values;
    layer.parts[part] = zeros;
    EXPECT_EQ(layer.load().error, "");
    EXPECT_EQ(layer.load().values, want);
    layer.parts[part].bytes.back() = 1;
    const Layer::Loaded loaded = layer.load();
    EXPECT_THAT(loaded.error, AllOf(HasSubstr("x." + part), HasSubstr("other than zeros")));
    EXPECT_TRUE(loaded.unsupported);
  };
  const Part zero_points{DType::kI8, {192, 1}, std::string(192, '\0')};
  for (const char* name : {"int8_channel", "int8_block", "fp8_block"}) {
    expect_zeros_only(golden_layer(name), "weight_zero_point", zero_points);
  }
  const Part bias{DType::kBF16, {192}, std::string(384, '\0')};
  for (const char* name : {"int8_channel", "fp8_block", "awq_group64", "gptq4_sym", "nvfp4"}) {
    expect_zeros_only(golden_layer(name), "bias", bias);
    Layer smoothed = golden_layer(name);
    smoothed.parts["pre_quant_scale"] = {DType::kBF16, {256}, std::string(512, '\x3f')};
    const Layer::Loaded loaded = smoothed.load();
    EXPECT_THAT(loaded.error, HasSubstr("x.pre_quant_scale: scales of a layer's input"));
    EXPECT_TRUE(loaded.unsupported);
  }
}

// ---- AWQ and GPTQ

TEST(GroupedFormats, GroupSizesComeFromConfigOrTensors) {
  for (const char* name : {"awq_group64", "gptq4_sym"}) {
    SCOPED_TRACE(name);
    Layer layer = golden_layer(name);
    const std::vector<float> want = layer.load().values;
    layer.config.group_size = 64;
    EXPECT_EQ(layer.load().values, want);
    layer.config.group_size = 128;
    EXPECT_THAT(layer.error(), AllOf(HasSubstr("x.scales"), HasSubstr("2 groups of 128"),
                                     HasSubstr("F16 [4, 192]")));
    layer.config.group_size = 48;
    EXPECT_THAT(layer.error(), AllOf(HasSubstr("group size 48"), HasSubstr("does not divide"),
                                     HasSubstr("256 input columns")));
  }
}

TEST(GroupedFormats, WrongTensorsAreNamed) {
  for (const char* name : {"awq_group64", "gptq4_asym"}) {
    SCOPED_TRACE(name);
    const Layer good = golden_layer(name);
    const auto error = [&](const std::function<void(Layer&)>& change) {
      Layer layer = good;
      change(layer);
      return layer.error();
    };
    EXPECT_THAT(error([](Layer& l) { l.parts["qweight"].dtype = DType::kF32; }),
                AllOf(HasSubstr("x.qweight: expected I32"), HasSubstr("found F32")));
    EXPECT_THAT(error([](Layer& l) { l.parts["qzeros"].shape = {24, 4}; }),
                AllOf(HasSubstr("x.qzeros: expected I32 [4, 24]"), HasSubstr("[24, 4]")));
    EXPECT_THAT(error([](Layer& l) { l.in = 512; }), HasSubstr("x.qweight: expected I32 ["));
    const auto with_scale = [](uint16_t code) {
      return [code](Layer& l) { std::memcpy(l.parts["scales"].bytes.data() + 6, &code, 2); };
    };
    EXPECT_THAT(error(with_scale(0x7e00)), AllOf(HasSubstr("x.scales: scale 3 is nan")));
    EXPECT_THAT(error(with_scale(0xfc00)), HasSubstr("x.scales: scale 3 is -inf"));
    EXPECT_EQ(error(with_scale(0)), "") << "FP16 underflows";
    EXPECT_THAT(error([](Layer& l) { std::ranges::fill(l.parts["scales"].bytes, '\0'); }),
                HasSubstr("all scales are zero"));
  }
  Layer awq = golden_layer("awq_group64");
  awq.parts.erase("qzeros");
  EXPECT_THAT(awq.error(), HasSubstr("x.qzeros is missing"));
  awq.config.zero_points = false;
  EXPECT_EQ(awq.error(), "");
  awq.parts.erase("scales");
  EXPECT_THAT(awq.error(), HasSubstr("x.scales is missing"));
}

// Columns in another order of groups, as desc_act quantises them.
TEST(Gptq, ReorderedColumns) {
  for (const char* name : {"gptq4_sym", "gptq4_asym", "gptq8_sym"}) {
    SCOPED_TRACE(name);
    Layer layer = golden_layer(name);
    const std::vector<float> ordered = layer.load().values;
    const int per_word = layer.parts["qweight"].shape[0] == 32 ? 8 : 4;
    // Column k takes the codes of column 256 - 1 - k, and with them its group.
    const Part qweight = layer.parts["qweight"];
    std::string& to = layer.parts["qweight"].bytes;
    std::ranges::fill(to, '\0');
    const int bits = 32 / per_word;
    const auto code = [&](int64_t k, int64_t n) {
      uint32_t word;
      std::memcpy(&word, qweight.bytes.data() + (k / per_word * 192 + n) * 4, 4);
      return (word >> (k % per_word * bits)) & ((1u << bits) - 1);
    };
    std::vector<int32_t> index;
    for (int64_t k = 0; k < 256; ++k) {
      index.push_back(static_cast<int32_t>((255 - k) / 64));
      for (int64_t n = 0; n < 192; ++n) {
        char* p = to.data() + (k / per_word * 192 + n) * 4;
        uint32_t word;
        std::memcpy(&word, p, 4);
        word |= code(255 - k, n) << (k % per_word * bits);
        std::memcpy(p, &word, 4);
      }
    }
    layer.parts["g_idx"].bytes = bytes_of(index);
    const Layer::Loaded loaded = layer.load();
    EXPECT_NE(loaded.view.order, nullptr);
    for (size_t i = 0; i < ordered.size(); ++i) {
      ASSERT_EQ(loaded.values[i], ordered[i / 256 * 256 + 255 - i % 256]) << i;
    }
    index[0] = 4;
    layer.parts["g_idx"].bytes = bytes_of(index);
    EXPECT_THAT(layer.error(),
                AllOf(HasSubstr("x.g_idx"), HasSubstr("group 4"), HasSubstr("there are 4 groups")));
    // Groups of uneven sizes fit no kernel: unpacked, and still right to BF16.
    index[0] = 2;
    layer.parts["g_idx"].bytes = bytes_of(index);
    EXPECT_EQ(layer.load().view.format, WeightFormat::kBF16);
  }
}

TEST(Gptq, VariantsOfZeros) {
  // gptq_v2 stores the zero itself: one less than the golden file means.
  Layer layer = golden_layer("gptq4_asym");
  const std::vector<float> want = layer.load().values;
  layer.config.zeros_minus_one = false;
  const Layer::Loaded v2 = layer.load();
  for (size_t i = 0; i < want.size(); ++i) {
    const float scale = v2.view.format == WeightFormat::kI4 ? v2.values[i] - want[i] : 0;
    ASSERT_GT(scale, 0) << "zero points one smaller move every value up by its scale";
  }
  // Without zeros and without g_idx: symmetric, and still not AWQ.
  layer = golden_layer("gptq4_sym");
  const std::vector<float> symmetric = layer.load().values;
  layer.parts.erase("qzeros");
  layer.parts.erase("g_idx");
  EXPECT_EQ(layer.load().format, "gptq");
  EXPECT_EQ(layer.load().values, symmetric);
  EXPECT_EQ(layer.load().view.zero, nullptr);
  // 8 bits with zero points: unpacked to BF16.
  layer = golden_layer("gptq8_sym");
  const std::vector<float> bytes = layer.load().values;
  layer.parts["qzeros"].bytes[0] = 100;
  const Layer::Loaded unpacked = layer.load();
  EXPECT_EQ(unpacked.view.format, WeightFormat::kBF16);
  EXPECT_EQ(unpacked.values[256 * 5], bf16_to_float(float_to_bf16(bytes[256 * 5])));
}

// ---- compressed-tensors

// The golden GPTQ matrix in compressed-tensors' packing.
Layer packed_layer(const char* name) {
  const Layer gptq = golden_layer(name);
  Layer layer;
  layer.out = gptq.out;
  layer.in = gptq.in;
  const Part& words = gptq.parts.at("qweight");
  const Part& scales = gptq.parts.at("scales");
  const int64_t per_row = words.shape[0], groups = scales.shape[0];
  Part& packed = layer.parts["weight_packed"] = {
      DType::kI32, {192, per_row}, std::string(words.bytes.size(), '\0')};
  Part& scale = layer.parts["weight_scale"] = {
      DType::kF16, {192, groups}, std::string(scales.bytes.size(), '\0')};
  for (int64_t n = 0; n < 192; ++n) {
    for (int64_t w = 0; w < per_row; ++w) {
      std::memcpy(packed.bytes.data() + (n * per_row + w) * 4,
                  words.bytes.data() + (w * 192 + n) * 4, 4);
    }
    for (int64_t g = 0; g < groups; ++g) {
      std::memcpy(scale.bytes.data() + (n * groups + g) * 2,
                  scales.bytes.data() + (g * 192 + n) * 2, 2);
    }
  }
  layer.parts["weight_shape"] = {DType::kI64, {2}, bytes_of<int64_t>({192, 256})};
  return layer;
}

TEST(PackQuantized, SymmetricIsReadInPlace) {
  for (const char* name : {"gptq4_sym", "gptq8_sym"}) {
    const Layer::Loaded loaded = packed_layer(name).load();
    EXPECT_EQ(loaded.error, "");
    EXPECT_EQ(loaded.format, "pack-quantized");
    EXPECT_EQ(loaded.values, Golden("gemm").get(std::string(name) + "/dequantised"));
  }
}

// Full-range symmetric quantisers (AutoRound) let the scale carry the sign of a group's largest
// number.
TEST(GroupedFormats, NegativeScalesNegate) {
  for (const char* name : {"awq_group64", "gptq4_sym", "gptq4_asym", "gptq8_sym"}) {
    const bool packed = std::string_view(name).ends_with("_sym");
    for (Layer layer : {golden_layer(name), packed ? packed_layer(name) : golden_layer(name)}) {
      SCOPED_TRACE(name);
      const std::vector<float> positive = layer.load().values;
      for (const char* part : {"scales", "weight_scale"}) {
        if (!layer.parts.contains(part)) continue;
        std::string& bytes = layer.parts[part].bytes;
        for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] ^= '\x80';
      }
      const Layer::Loaded negative = layer.load();
      ASSERT_EQ(negative.error, "");
      for (size_t i = 0; i < positive.size(); ++i) ASSERT_EQ(negative.values[i], -positive[i]) << i;
    }
  }
}

TEST(PackQuantized, ZeroPointsAndGroupIndex) {
  Layer layer = packed_layer("gptq4_sym");
  const std::vector<float> symmetric = layer.load().values;
  // Zero point 7 in every nibble, in place of 8: each value one scale more.
  layer.parts["weight_zero_point"] = {DType::kI32, {24, 4}, std::string(24 * 4 * 4, '\x77')};
  const Layer::Loaded moved = layer.load();
  ASSERT_EQ(moved.error, "");
  for (size_t i = 0; i < symmetric.size(); ++i) ASSERT_GT(moved.values[i], symmetric[i]);
  layer.parts["weight_zero_point"].bytes.assign(24 * 4 * 4, '\x88');
  EXPECT_EQ(layer.load().values, symmetric);
  std::vector<int32_t> index;
  for (int32_t k = 0; k < 256; ++k) index.push_back(k / 64);
  layer.parts["weight_g_idx"] = {DType::kI32, {256}, bytes_of(index)};
  EXPECT_EQ(layer.load().values, symmetric);
  layer.parts["weight_shape"].bytes = bytes_of<int64_t>({192, 128});
  EXPECT_THAT(layer.error(), HasSubstr("x.weight_shape: expected [192, 256], found [192, 128]"));
  layer.parts["weight_shape"].bytes = bytes_of<int64_t>({192, 256});
  layer.parts["weight_scale"].shape = {4, 192};
  EXPECT_THAT(layer.error(), HasSubstr("x.weight_scale: expected [192, groups]"));
}

// ---- NVFP4

TEST(Nvfp4, CompressedTensorsDividesByItsGlobalScale) {
  Layer layer = golden_layer("nvfp4");
  const std::vector<float> want = layer.load().values;
  float scale;
  std::memcpy(&scale, layer.parts["weight_scale_2"].bytes.data(), 4);
  layer.parts.erase("weight_scale_2");
  layer.parts["weight_packed"] = layer.parts["weight"];
  layer.parts.erase("weight");
  layer.parts["weight_global_scale"] = {DType::kF32, {1}, bytes_of<float>({1 / scale})};
  const Layer::Loaded loaded = layer.load();
  EXPECT_EQ(loaded.format, "modelopt_fp4");
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(loaded.values[i], want[i], 2e-7f * std::abs(want[i]));
  }
}

TEST(Nvfp4, WrongTensorsAreNamed) {
  const Layer good = golden_layer("nvfp4");
  const auto error = [&](const std::function<void(Layer&)>& change) {
    Layer layer = good;
    change(layer);
    return layer.error();
  };
  EXPECT_THAT(error([](Layer& l) { l.parts.erase("weight_scale_2"); }),
              HasSubstr("x.weight_scale_2 is missing"));
  EXPECT_THAT(error([](Layer& l) { l.parts.erase("weight_scale"); }),
              HasSubstr("x.weight_scale is missing"));
  EXPECT_THAT(error([](Layer& l) { l.parts["weight_scale"].shape = {96, 32}; }),
              HasSubstr("x.weight_scale: expected F8_E4M3 [192, 16], found F8_E4M3 [96, 32]"));
  EXPECT_THAT(error([](Layer& l) { l.parts["weight_scale"].bytes[77] = '\x7f'; }),
              AllOf(HasSubstr("x.weight_scale: scale 77"), HasSubstr("0x7f")));
  EXPECT_THAT(error([](Layer& l) { l.parts["weight_scale"].bytes[8] = '\x90'; }),
              HasSubstr("x.weight_scale: scale 8"));
  for (const float bad : {NAN, 0.0f, -1.0f}) {
    EXPECT_THAT(error([&](Layer& l) { l.parts["weight_scale_2"].bytes = bytes_of<float>({bad}); }),
                HasSubstr("x.weight_scale_2: scale 0 is"));
  }
  EXPECT_THAT(error([](Layer& l) { l.in = 250; }), HasSubstr("16 columns"));
}

// ---- quantization_config

// Printing it again recurses: half a million levels would overflow the stack.
TEST(QuantConfig, DeeplyNestedCompanionFilesAreRefused) {
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  MemoryFiles files;
  files.put("hf_quant_config.json", R"({"quantization":{"a":)" + deep + "}}");
  const auto config = QuantConfig::read_companions(*files.files());
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("hf_quant_config.json: nested deeper than 128 levels"));
}

TEST(QuantConfig, ErrorsNameSourceAndField) {
  const auto error = [](const char* json) {
    const auto config = QuantConfig::parse(json, "here");
    return config ? "no error" : config.error().message;
  };
  EXPECT_THAT(error("[]"), HasSubstr("here: not a JSON object"));
  EXPECT_THAT(error(R"({"quant_method":5})"), HasSubstr("here: \"quant_method\" must be a string"));
  EXPECT_THAT(error(R"({"quant_method":"fp8","weight_block_size":[128]})"),
              HasSubstr("weight_block_size"));
  EXPECT_THAT(error(R"({"quant_method":"awq","bits":3})"), HasSubstr("\"bits\" must be"));
  EXPECT_THAT(error(R"({"quant_method":"awq","version":"gemv"})"), HasSubstr("\"gemm\""));
  EXPECT_THAT(error(R"({"quant_method":"gptq","bits":3})"), HasSubstr("must be 4 or 8"));
  EXPECT_THAT(error(R"({"quant_method":"gptq","group_size":20})"), HasSubstr("multiple of 16"));
  EXPECT_THAT(error(R"({"quant_method":"gptq","checkpoint_format":"marlin"})"),
              HasSubstr("gptq_v2"));
  EXPECT_THAT(error(R"({"quant_method":"fp8","ignored_layers":[5]})"), HasSubstr("ignored_layers"));
  EXPECT_THAT(error(R"({"quant_method":"fp8","ignore":["re:("]})"),
              HasSubstr("valid regular expressions"));
}

TEST(QuantConfig, Exclusions) {
  const auto config = QuantConfig::parse(
      R"({"quant_method":"fp8","ignore":["lm_head","model.layers.0.self_attn*","layers.3",
          "re:.*shared_experts.*","mlp.gate."]})",
      "here");
  ASSERT_TRUE(config);
  const auto excludes = [&](const char* name) { return config->excludes(name); };
  EXPECT_TRUE(excludes("lm_head"));
  EXPECT_TRUE(excludes("model.layers.0.self_attn.q_a_proj"));
  EXPECT_FALSE(excludes("model.layers.1.self_attn.q_a_proj"));
  EXPECT_TRUE(excludes("model.layers.3.mlp.up_proj"));
  EXPECT_FALSE(excludes("model.layers.33.mlp.up_proj"));
  EXPECT_TRUE(excludes("model.layers.9.mlp.shared_experts.up_proj"));
  EXPECT_TRUE(excludes("model.layers.9.mlp.gate"));
  EXPECT_FALSE(excludes("model.layers.9.mlp.gate_proj"));
}

}  // namespace
}  // namespace fathom
