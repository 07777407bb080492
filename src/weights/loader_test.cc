#include "weights/loader.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tensor/float_formats.h"
#include "weights/dummy.h"
#include "weights/test_files.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::vector<float> values_of(const Matrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.view.out) *
                            static_cast<size_t>(matrix.view.in));
  dequantize(matrix.view, 0, matrix.view.out, values.data());
  return values;
}

// A checkpoint of one file, kept alive.
struct OneFile {
  explicit OneFile(const SafetensorsBuilder& builder, size_t shift = 0) {
    memory.put("model.safetensors", builder.build(shift));
    checkpoint = Checkpoint::open(*memory.files()).value();
  }
  MemoryFiles memory;
  std::shared_ptr<const Checkpoint> checkpoint;
};

// A loader and what it refers to.
struct Loading {
  explicit Loading(const OneFile& file, const QuantConfig& quant = {}, int threads = 2)
      : config(quant),
        survey(*file.checkpoint),
        exec(Exec::create({.threads = threads, .cores = {}})),
        loader(*file.checkpoint, config, plan, survey, *exec) {}
  QuantConfig config;
  QuantPlan plan;
  FormatSurvey survey;
  std::unique_ptr<Exec> exec;
  CheckpointLoader loader;
};

QuantConfig blocks(int32_t out, int32_t in) {
  QuantConfig config;
  config.block_out = out;
  config.block_in = in;
  return config;
}

TEST(FloatFormats, HalfRoundTripsAndRounds) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const float value = f16_to_float(static_cast<uint16_t>(code));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(value))));
    } else {
      ASSERT_EQ(float_to_f16(value), code);
    }
  }
  EXPECT_EQ(float_to_f16(1 + 0x1p-11f), 0x3c00);  // a tie goes to even
  EXPECT_EQ(float_to_f16(1 + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(float_to_f16(1 + 0x1.1p-11f), 0x3c01);
  EXPECT_EQ(float_to_f16(65519), 0x7bff);
  EXPECT_EQ(float_to_f16(65520), 0x7c00);
  EXPECT_EQ(float_to_f16(-1e9f), 0xfc00);
  EXPECT_EQ(float_to_f16(0x1p-25f), 0);
  EXPECT_EQ(float_to_f16(0x1.8p-25f), 1);
}

TEST(CheckpointLoader, PlainFormatsInPlaceAndMisaligned) {
  const std::vector<float> values = {1, -2, 0.5f, 4, 0, -0.25f};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<uint16_t> halves;
    for (const float v : values) {
      halves.push_back(dtype == DType::kF16 ? float_to_f16(v) : float_to_bf16(v));
    }
    for (const size_t shift : {0, 1}) {
      SafetensorsBuilder builder;
      builder.add("x.weight", dtype, {2, 3},
                  dtype == DType::kF32 ? bytes_of(values) : bytes_of(halves));
      const OneFile file(builder, shift);
      Loading loading(file);
      CheckpointLoader& loader = loading.loader;
      Matrix matrix;
      loader.linear("x", 2, 3, matrix);
      ASSERT_TRUE(loader.status("here")) << loader.status("here").error().message;
      EXPECT_EQ(values_of(matrix), values);
      EXPECT_EQ(matrix.owned_bytes() > 0, shift > 0) << "only misaligned numbers are copied";
      Matrix router;
      loader.router("x", 2, 3, router);
      EXPECT_EQ(router.view.format, WeightFormat::kF32);
      EXPECT_EQ(values_of(router), values);
    }
  }
}

TEST(CheckpointLoader, F8BlocksWithPartialEdges) {
  // 3 x 5 in blocks of 2 x 4: 2 x 2 scales; code 0x38 is 1, 0xb8 is -1, 0x01 is 2^-9.
  const std::vector<uint8_t> codes = {0x38, 0x38, 0x38, 0x38, 0x38, 0xb8, 0x38, 0x38,
                                      0x38, 0x01, 0x38, 0x38, 0x38, 0x7e, 0x38};
  const std::vector<float> want = {2, 2, 2, 2, 3, -2, 2, 2, 2, 3 * 0x1p-9f, 5, 5, 5, 448 * 5, 7};
  const std::vector<float> scales = {2, 3, 5, 7};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    std::vector<uint16_t> halves;
    for (const float s : scales) halves.push_back(float_to_bf16(s));
    SafetensorsBuilder builder;
    builder.add("x.weight_scale_inv", dtype, {2, 2},
                dtype == DType::kF32 ? bytes_of(scales) : bytes_of(halves));
    builder.add("x.weight", DType::kF8E4M3, {3, 5}, bytes_of(codes));
    const OneFile file(builder);
    Loading loading(file, blocks(2, 4));
    CheckpointLoader& loader = loading.loader;
    Matrix matrix;
    loader.linear("x", 3, 5, matrix);
    ASSERT_TRUE(loader.status("here")) << loader.status("here").error().message;
    EXPECT_EQ(values_of(matrix), want);
    EXPECT_EQ(matrix_bytes(matrix.view), 15 + 16);
  }
}

TEST(CheckpointLoader, F8Errors) {
  const auto error = [](DType scale, const std::vector<int64_t>& shape, const std::string& bytes) {
    SafetensorsBuilder builder;
    builder.add("x.weight", DType::kF8E4M3, {3, 5});
    if (!shape.empty()) builder.add("x.weight_scale_inv", scale, shape, bytes);
    const OneFile file(builder);
    Loading loading(file, blocks(2, 4));
    CheckpointLoader& loader = loading.loader;
    Matrix matrix;
    loader.linear("x", 3, 5, matrix);
    return loader.status("here").error().message;
  };
  EXPECT_THAT(error(DType::kF32, {}, ""), HasSubstr("x.weight_scale_inv is missing"));
  EXPECT_THAT(error(DType::kF32, {1, 2}, std::string(8, '\0')),
              AllOf(HasSubstr("expected [2, 2] for blocks of 2 x 4"), HasSubstr("F32 [1, 2]")));
  EXPECT_THAT(error(DType::kI32, {2, 2}, std::string(16, '\0')),
              HasSubstr("expected a float tensor, found I32 [2, 2]"));
  EXPECT_THAT(error(DType::kF32, {2, 2}, bytes_of<float>({1, 1, NAN, 1})),
              HasSubstr("scale 2 is nan"));
}

TEST(CheckpointLoader, ReportsEveryProblemAtOnce) {
  SafetensorsBuilder builder;
  builder.add("wide.weight", DType::kBF16, {2, 4});
  builder.add("codes.weight", DType::kI8, {2, 3});
  builder.add("odd.weight", DType::kI64, {2, 3});
  builder.add("norm.weight", DType::kF32, {4});
  builder.add("ints.weight", DType::kI64, {3});
  builder.add("table.weight", DType::kF8E4M3, {2, 3});
  builder.add("extra.weight", DType::kF32, {1});
  const OneFile file(builder);
  Loading loading(file);
  CheckpointLoader& loader = loading.loader;
  Matrix matrix;
  Vector vector;
  loader.linear("wide", 2, 3, matrix);
  loader.linear("codes", 2, 3, matrix);
  loader.linear("odd", 2, 3, matrix);
  loader.linear("gone", 2, 3, matrix);
  loader.table("table", 2, 3, matrix);
  loader.router("router", 2, 3, matrix);
  loader.vector("norm.weight", 3, vector);
  loader.vector("ints.weight", 3, vector);
  loader.vector("lost.weight", 3, vector);
  EXPECT_THAT(
      loader.status("the folder").error().message,
      AllOf(
          HasSubstr("the folder"), HasSubstr("9 problem(s)"),
          HasSubstr("<memory>/model.safetensors: wide.weight: expected [2, 3], found BF16 [2, 4]"),
          HasSubstr("codes.weight_scale is missing"),
          HasSubstr("odd.weight: expected BF16, F16, F32, F8_E4M3 or I8 [2, 3], found I64 [2, 3]"),
          HasSubstr("gone.weight [2, 3] is missing"),
          HasSubstr("table.weight_scale_inv is missing"),
          HasSubstr("router.weight [2, 3] is missing"),
          HasSubstr("norm.weight: expected [3], found F32 [4]"),
          HasSubstr("ints.weight: expected a float tensor, found I64 [3]"),
          HasSubstr("lost.weight [3] is missing")));
  EXPECT_THAT(loader.unvisited(), ElementsAre("extra.weight"));
}

TEST(CheckpointLoader, LimitsTheList) {
  const OneFile file{SafetensorsBuilder()};
  Loading loading(file);
  CheckpointLoader& loader = loading.loader;
  Vector vector;
  for (int i = 0; i < 1000; ++i) loader.vector("v" + std::to_string(i), 3, vector);
  EXPECT_THAT(loader.status("here").error().message,
              AllOf(HasSubstr("1000 problem(s)"), HasSubstr("... and 980 more")));
}

TEST(DummyLoader, DeterministicFiniteAndOfUnitGain) {
  const auto one = Exec::create({.threads = 1, .cores = {}});
  const auto three = Exec::create({.threads = 3, .cores = {}});
  const QuantConfig config;
  constexpr int32_t kOut = 130, kIn = 304;
  for (const QuantTarget& target :
       {QuantTarget{}, QuantTarget{WeightFormat::kF8, 128, 128},
        QuantTarget{WeightFormat::kF8, 1, 0}, QuantTarget{WeightFormat::kI8, 0, 0},
        QuantTarget{WeightFormat::kI4, 1, 64, true}, QuantTarget{WeightFormat::kI4, 1, 64, false},
        QuantTarget{WeightFormat::kFp4, 1, 16}}) {
    SCOPED_TRACE(static_cast<int>(target.format));
    const auto make = [&](uint64_t seed, Exec& exec) {
      DummyLoader loader(target, QuantTarget{}, config, seed, exec);
      Matrix first, second;
      loader.linear("a", kOut, kIn, first);
      loader.linear("b", kOut, kIn, second);
      EXPECT_TRUE(loader.status());
      EXPECT_NE(values_of(first), values_of(second));
      DummyCounter counter(target, QuantTarget{}, config);
      Matrix matrix;
      counter.linear("a", kOut, kIn, matrix);
      EXPECT_EQ(counter.bytes, matrix_bytes(first.view));
      return values_of(second);
    };
    const std::vector<float> values = make(1, *one);
    EXPECT_EQ(values, make(1, *three));
    EXPECT_NE(values, make(2, *one));
    double squares = 0, sum = 0;
    for (const float v : values) {
      ASSERT_TRUE(std::isfinite(v));
      squares += double{v} * v;
      sum += v;
    }
    const double n = static_cast<double>(values.size());
    EXPECT_NEAR(std::sqrt(squares / n * kIn), 1, 0.05);
    EXPECT_NEAR(sum / n * std::sqrt(double{kIn}), 0, 0.05);
  }
}

TEST(DummyLoader, SaysWhichWeightAFormatCannotHold) {
  const auto exec = Exec::create({.threads = 1, .cores = {}});
  const QuantConfig config;
  DummyLoader loader({WeightFormat::kFp4, 1, 16}, QuantTarget{}, config, 1, *exec);
  Matrix matrix;
  loader.linear("model.x", 8, 24, matrix);
  EXPECT_THAT(loader.status().error().message, AllOf(HasSubstr("model.x"), HasSubstr("24")));
}

}  // namespace
}  // namespace fathom
