// Number formats and quantisers against the golden tables and against each other.
#include "weights/quantize.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "kernels/testing/golden.h"
#include "kernels/testing/matrices.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

using testing::HasSubstr;

std::vector<float> values_of(const MatrixView& view) {
  std::vector<float> values(static_cast<size_t>(view.out) * static_cast<size_t>(view.in));
  dequantize(view, 0, view.out, values.data());
  return values;
}

template <class Decode>
void expect_table(const std::vector<float>& table, Decode&& decode) {
  for (size_t code = 0; code < table.size(); ++code) {
    const float got = decode(static_cast<uint8_t>(code));
    if (std::isnan(table[code])) {
      EXPECT_TRUE(std::isnan(got)) << code;
    } else {
      EXPECT_EQ(got, table[code]) << code;
      EXPECT_EQ(std::signbit(got), std::signbit(table[code])) << code;
    }
  }
}

TEST(NumberFormats, DecodeTables) {
  const Golden golden("numbers");
  expect_table(golden.get("e4m3fn"), f8e4m3_to_float);
  expect_table(golden.get("e5m2"), f8e5m2_to_float);
  expect_table(golden.get("e2m1"), f4e2m1_to_float);
  expect_table(golden.get("e8m0"), f8e8m0_to_float);
}

TEST(NumberFormats, EncodeTables) {
  const Golden golden("numbers");
  const auto inputs = golden.get("encode_input");
  const auto codes = golden.get<uint8_t>("encode_e4m3fn_saturating");
  ASSERT_EQ(inputs.size(), codes.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(float_to_f8e4m3(inputs[i]), codes[i]) << inputs[i];
  }
  const auto small = golden.get("encode_e2m1_input");
  const auto nibbles = golden.get<uint8_t>("encode_e2m1");
  ASSERT_EQ(small.size(), nibbles.size());
  for (size_t i = 0; i < small.size(); ++i) {
    EXPECT_EQ(float_to_f4e2m1(small[i]), nibbles[i]) << small[i];
  }
}

// Encoding is the nearest of all codes, ties to the even one, for values around every boundary.
TEST(NumberFormats, E5M2RoundsToNearestEven) {
  for (int code = 0; code < 0x7b; ++code) {
    const float low = f8e5m2_to_float(static_cast<uint8_t>(code));
    const float high = f8e5m2_to_float(static_cast<uint8_t>(code + 1));
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(float_to_f8e5m2(low), code);
    EXPECT_EQ(float_to_f8e5m2(-low), code | 0x80);
    EXPECT_EQ(float_to_f8e5m2(middle), code + code % 2);
    EXPECT_EQ(float_to_f8e5m2(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(float_to_f8e5m2(std::nextafter(middle, high)), code + 1);
  }
  EXPECT_EQ(float_to_f8e5m2(57344), 0x7b);
  EXPECT_EQ(float_to_f8e5m2(1e9f), 0x7b);
  EXPECT_EQ(float_to_f8e5m2(-1e9f), 0xfb);
  EXPECT_TRUE(std::isnan(f8e5m2_to_float(float_to_f8e5m2(NAN))));
}

// Golden matrices were made by other code with the same rules: quantising their values again gives
// the same values.
TEST(Quantize, GoldenMatricesAreFixedPoints) {
  const Golden golden("gemm");
  const auto exec = Exec::create({.threads = 2, .cores = {}});
  const struct {
    const char* name;
    QuantTarget target;
  } cases[] = {{"fp8_block", {WeightFormat::kF8, 128, 128}},
               {"int8_channel", {WeightFormat::kI8, 1, 0}},
               {"int8_block", {WeightFormat::kI8, 128, 128}}};
  for (const auto& c : cases) {
    const std::vector<float> want = golden.get(std::string(c.name) + "/dequantised");
    const MatrixView source{
        .data = want.data(), .out = 192, .in = 256, .format = WeightFormat::kF32};
    const Matrix matrix = quantize(source, c.target, *exec).value();
    expect_close(values_of(matrix.view), want, 1e-6f);
  }
}

// The quantisers of activations have the same rules as those of weights, row by row.
TEST(Quantize, GoldenQuantisers) {
  const Golden golden("quant");
  constexpr int64_t kRows = 9, kIn = 512, kGroup = 128, kGroups = kIn / kGroup;
  const std::vector<float> x = golden.get("x");
  const auto f8_codes = golden.get<uint8_t>("fp8_group/codes");
  const std::vector<float> f8_scales = golden.get("fp8_group/scales");
  const auto i8_codes = golden.get<int8_t>("int8_group_nearest/codes");
  const std::vector<float> i8_scales = golden.get("int8_group_nearest/scales");
  for (int64_t t = 0; t < kRows; ++t) {
    std::vector<uint8_t> f8(kIn);
    std::vector<int8_t> i8(kIn);
    std::vector<float> scales(kGroups);
    const float* row = x.data() + t * kIn;
    const auto expect_row = [&](const auto& got, const auto& want, const auto& want_scales) {
      EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin() + t * kIn)) << "row " << t;
      for (int64_t g = 0; g < kGroups; ++g) {
        // Zeros have any scale: the least magnitude is 1e-12 here and 1e-10 there.
        const float* group = row + g * kGroup;
        if (std::all_of(group, group + kGroup, [](float v) { return v == 0; })) continue;
        const auto at = static_cast<size_t>(g);
        EXPECT_EQ(scales[at], want_scales[static_cast<size_t>(t * kGroups + g)]);
      }
    };
    quantize_f8(row, 1, kIn, kGroup, f8.data(), scales.data());
    expect_row(f8, f8_codes, f8_scales);
    quantize_i8(row, 1, kIn, kGroup, i8.data(), scales.data());
    expect_row(i8, i8_codes, i8_scales);
  }

  const std::vector<float> fp4_x = golden.get("nvfp4/x");
  const float global = golden.get("nvfp4/global_scale").at(0);
  const auto packed = golden.get<uint8_t>("nvfp4/codes_packed");
  const auto block_scales = golden.get<uint8_t>("nvfp4/block_scales");
  for (int64_t t = 0; t < kRows; ++t) {
    std::vector<uint8_t> codes(kIn / 2), scales(kIn / 16);
    quantize_fp4(fp4_x.data() + t * kIn, kIn, global, codes.data(), scales.data());
    EXPECT_TRUE(std::equal(codes.begin(), codes.end(), packed.begin() + t * kIn / 2)) << t;
    EXPECT_TRUE(std::equal(scales.begin(), scales.end(), block_scales.begin() + t * kIn / 16)) << t;
  }
}

struct Case {
  const char* name;
  QuantTarget target;
  float error;  // largest |difference| / (largest magnitude of the scale's block)
};
const Case kCases[] = {
    {"fp8_block", {WeightFormat::kF8, 128, 128}, 1.0f / 28},
    {"fp8_channel", {WeightFormat::kF8, 1, 0}, 1.0f / 28},
    {"fp8_tensor", {WeightFormat::kF8, 0, 0}, 1.0f / 28},
    {"int8_channel", {WeightFormat::kI8, 1, 0}, 0.5f / 127},
    {"int8_block", {WeightFormat::kI8, 128, 128}, 0.5f / 127},
    {"int8_group", {WeightFormat::kI8, 1, 32}, 0.5f / 127},
    {"int8_tensor", {WeightFormat::kI8, 0, 0}, 0.5f / 127},
    // The scale is max / 7 and rounded to FP16; with zero points (max - min) / 15, zero rounded
    // too.
    {"int4", {WeightFormat::kI4, 1, 64, false}, 0.5f / 7 + 1e-3f},
    {"int4_zero", {WeightFormat::kI4, 1, 64, true}, 2.0f / 15 + 1e-3f},
    {"int4_row", {WeightFormat::kI4, 1, 0, true}, 2.0f / 15 + 1e-3f},
    {"nvfp4", {WeightFormat::kFp4, 1, 16}, 1.0f / 6 + 1.0f / 16},
};

TEST(Quantize, ErrorsStayBelowHalfAStepInEveryFormat) {
  const auto one = Exec::create({.threads = 1, .cores = {}});
  const auto three = Exec::create({.threads = 3, .cores = {}});
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    constexpr int32_t kOut = 150, kIn = 208;
    const std::vector<float> x = random_floats(kOut * kIn, 5);
    const MatrixView source{.data = x.data(), .out = kOut, .in = kIn, .format = WeightFormat::kF32};
    const Matrix matrix = quantize(source, c.target, *one).value();
    const std::vector<float> y = values_of(matrix.view);
    EXPECT_EQ(y, values_of(quantize(source, c.target, *three).value().view));
    float largest = 0, worst = 0;
    for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x[i]));
    for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x[i] - y[i]));
    EXPECT_LE(worst, c.error * largest * (1 + 1e-5f));
    EXPECT_GT(worst, 0);
    EXPECT_GE(matrix.owned_bytes(), matrix_bytes(matrix.view));
  }
}

TEST(Quantize, ZerosStayZerosAndScalesPositive) {
  const auto exec = Exec::create({.threads = 1, .cores = {}});
  const std::vector<float> zeros(20 * 64, 0.0f);
  const MatrixView source{.data = zeros.data(), .out = 20, .in = 64, .format = WeightFormat::kF32};
  for (const Case& c : kCases) {
    const Matrix matrix = quantize(source, c.target, *exec).value();
    EXPECT_EQ(values_of(matrix.view), zeros) << c.name;
    if (matrix.view.scale) {
      EXPECT_GT(*matrix.view.scale, 0) << c.name;
    }
  }
}

// Else NaN would become some number, and an infinity would make zeros of its neighbours.
TEST(Quantize, RefusesWhatIsNotFinite) {
  const auto exec = Exec::create({.threads = 1, .cores = {}});
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = random_floats(40 * 64, 5);
    x[30 * 64 + 7] = bad;
    const MatrixView source{.data = x.data(), .out = 40, .in = 64, .format = WeightFormat::kF32};
    for (const Case& c : kCases) {
      const auto matrix = quantize(source, c.target, *exec);
      ASSERT_FALSE(matrix) << c.name;
      EXPECT_THAT(matrix.error().message, HasSubstr("NaN or an infinity"));
    }
    EXPECT_TRUE(quantize(source, {WeightFormat::kBF16}, *exec)) << "unpacked as it is";
  }
}

TEST(Quantize, SaysWhatAFormatCannotHold) {
  EXPECT_THAT(describe({WeightFormat::kFp4}, 4, 40).error().message, HasSubstr("16 columns"));
  EXPECT_THAT(describe({WeightFormat::kI4, 1, 96}, 4, 192).error().message, HasSubstr("96"));
  EXPECT_TRUE(describe({WeightFormat::kI4, 1, 256}, 4, 192));
}

}  // namespace
}  // namespace fathom
