// Every target's matmul against exact sums, and the promise that bits depend on nothing but a row.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/compute.h"
#include "kernels/targets.h"
#include "kernels/testing/golden.h"
#include "kernels/testing/matrices.h"

namespace fathom {
namespace {

struct Setup {
  std::string target;
  WeightFormat format;
  Activations activations = Activations::kFastest;
};

std::vector<Setup> setups() {
  std::vector<Setup> all;
  for (const std::string& target : runnable_targets()) {
    for (int f = 0; f < kWeightFormatCount; ++f) {
      const auto format = static_cast<WeightFormat>(f);
      all.push_back({target, format});
      const Ops ops = ops_for(target).value();
      if (ops.matmul[f].run != ops.float_matmul[f].run) {
        all.push_back({target, format, Activations::kFloat});
      }
    }
  }
  return all;
}

class Matmul : public testing::TestWithParam<Setup> {
 protected:
  std::unique_ptr<Compute> compute(int threads) {
    exec_ = Exec::create({.threads = threads, .cores = {}});
    return Compute::create(*exec_, GetParam().target, GetParam().activations).value();
  }
  std::vector<float> linear(int threads, const RandomMatrix& w, const std::vector<float>& x,
                            int32_t rows) {
    auto c = compute(threads);
    std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(w.view.out), -7.0f);
    const LinearOut out[] = {{w.view, y.data(), w.view.out}};
    c->linear(x.data(), w.view.in, rows, out);
    return y;
  }
  const MatmulKernel& kernel_for(const MatrixView& w) const {
    return matmul_kernel(ops_, w, GetParam().activations == Activations::kFastest);
  }
  // The numbers that the kernel sees when it is given x.
  std::vector<double> as_seen(const MatrixView& w, const std::vector<float>& x,
                              int32_t rows) const {
    std::vector<double> seen(x.begin(), x.end());
    const ActivationFormat format = kernel_for(w).activation;
    if (format == ActivationFormat::kBF16) {
      for (size_t i = 0; i < x.size(); ++i) seen[i] = bf16_to_float(float_to_bf16(x[i]));
    } else if (format == ActivationFormat::kI8) {
      const int32_t step = quant_layout(w).unit == 0 ? w.in : kQuantStep;
      for (int32_t i = 0; i < rows * w.in; ++i) {
        const int32_t first = i - i % w.in % step;
        const int32_t last = std::min(first + step, i - i % w.in + w.in);
        float amax = 1e-10f;
        for (int32_t j = first; j < last; ++j) {
          amax = std::max(amax, std::abs(x[static_cast<size_t>(j)]));
        }
        const auto at = static_cast<size_t>(i);
        seen[at] = std::nearbyint(x[at] * (127.0f / amax)) * static_cast<double>(amax / 127.0f);
      }
    }
    return seen;
  }

  bool integers() const {
    return ops_.matmul[static_cast<size_t>(GetParam().format)].activation ==
               ActivationFormat::kI8 &&
           GetParam().activations == Activations::kFastest;
  }
  void expect_specified(const RandomMatrix& w, const std::vector<float>& x, int32_t rows) {
    const std::vector<float> y = linear(2, w, x, rows);
    std::vector<float> want(y.size());
    auto exec = Exec::create({.threads = 1, .cores = {}});
    const LinearOut out[] = {{w.view, want.data(), w.view.out}};
    Compute::create(*exec, "scalar").value()->linear(x.data(), w.view.in, rows, out);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], want[i]) << "at " << i;
  }

  Ops ops_ = ops_for(GetParam().target).value();

 private:
  std::unique_ptr<Exec> exec_;
};

struct Shape {
  int32_t rows, out, in, block;
  int32_t block_out = 0;  // 0: block
};
constexpr Shape kShapes[] = {
    {1, 1, 1, 128},
    {1, 3, 7, 128},
    {1, 64, 128, 128},
    {2, 17, 33, 128},
    {3, 24, 64, 128},
    {5, 192, 256, 128},
    {6, 130, 300, 128},
    {7, 20, 1000, 128},
    {13, 37, 96, 128},
    {16, 16, 64, 128},
    {64, 40, 257, 128},
    {33, 130, 320, 64},
    {9, 50, 130, 48},
    {100, 33, 512, 128},
    {17, 144, 31, 16},
    // A scale per row, per matrix, per group of columns.
    {1, 37, 300, 300, 1},
    {23, 70, 520, 520, 1},
    {3, 20, 100, 4096},
    {14, 70, 384, 256, 1},
    {1, 70, 300, 32, 1},
    {19, 66, 300, 32, 1},
    {2, 9, 200, 16, 1},
    {30, 80, 200, 16, 1},
    {5, 70, 330, 64, 1},
    // Several pieces of columns and blocks of rows; blocks of scales larger and smaller than those.
    {150, 40, 1100, 128},
    {20, 36, 1500, 600},
    {20, 36, 700, 8, 1},
    {20, 36, 693, 7, 1},
};

// |error| of a sum in any order of n FP32 fused multiply-adds is below n * 2^-24 * sum |x w|; a
// lane adds at most ceil(n / 8) of them, each block multiplies by a rounded quotient, then come
// lanes and the scale. Scales of 0 may count as 2^-80.
double bound_of(double magnitude, int32_t in, int32_t block) {
  return (in / 8.0 + 2.0 * in / block + 40) * 0x1p-24 * magnitude + 1e-18;
}

TEST_P(Matmul, AgreesWithExactSums) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message()
                 << s.rows << " x " << s.out << " x " << s.in << " / " << s.block);
    const RandomMatrix w(GetParam().format, s.out, s.in, 1, s.block, s.block_out);
    const std::vector<float> x = random_floats(int64_t{s.rows} * s.in, 2);
    const std::vector<double> seen = as_seen(w.view, x, s.rows);
    const std::vector<float> y = linear(2, w, x, s.rows);
    for (int32_t t = 0; t < s.rows; ++t) {
      for (int32_t n = 0; n < s.out; ++n) {
        double want = 0;
        double magnitude = 0;
        for (int32_t k = 0; k < s.in; ++k) {
          const double v = seen[static_cast<size_t>(t * s.in + k)];
          want += v * static_cast<double>(w.at(n, k));
          magnitude += std::abs(v * static_cast<double>(w.at(n, k)));
        }
        ASSERT_NEAR(y[static_cast<size_t>(t * s.out + n)], want, bound_of(magnitude, s.in, s.block))
            << "row " << t << " column " << n;
      }
    }
  }
}

// Blocks of zeros have tiny scales, or none. Neighbours with others do not suffer.
TEST_P(Matmul, ScalesFarApart) {
  for (const int32_t rows : {1, 4, 30}) {
    constexpr int32_t kIn = 640, kBlock = 128, kOut = 20;
    RandomMatrix w(GetParam().format, kOut, kIn, 1, kBlock);
    if (w.view.scale == nullptr) return;
    std::vector<float> scales;
    for (int32_t i = 0; i < kOut; ++i) scales.insert(scales.end(), {0, 1, 0, 1e-38f, 0.5f});
    w.view.scale = scales.data();
    const std::vector<float> x = random_floats(int64_t{rows} * kIn, 2);
    const std::vector<double> seen = as_seen(w.view, x, rows);
    const std::vector<float> y = linear(2, w, x, rows);
    for (int32_t t = 0; t < rows; ++t) {
      for (int32_t n = 0; n < kOut; ++n) {
        double want = 0;
        double magnitude = 0;
        for (int32_t k = 0; k < kIn; ++k) {
          const double v = seen[static_cast<size_t>(t * kIn + k)];
          want += v * static_cast<double>(w.at(n, k));
          magnitude += std::abs(v * static_cast<double>(w.at(n, k)));
        }
        ASSERT_NEAR(y[static_cast<size_t>(t * kOut + n)], want, bound_of(magnitude, kIn, kBlock));
      }
    }
  }
}

// Integer sums are exact and what follows has one order: every target gives the bits of the
// specification.
TEST_P(Matmul, IntegersGiveTheBitsOfTheSpecification) {
  if (!integers()) return;
  for (const Shape& s : kShapes) {
    const RandomMatrix w(GetParam().format, s.out, s.in, 1, s.block, s.block_out);
    if (!takes_integers(w.view)) continue;
    SCOPED_TRACE(testing::Message()
                 << s.rows << " x " << s.out << " x " << s.in << " / " << s.block);
    expect_specified(w, random_floats(int64_t{s.rows} * s.in, 2), s.rows);
  }
}

// No sum of products overflows: all codes and inputs at their ends.
TEST_P(Matmul, IntegersAtTheirEnds) {
  if (!integers()) return;
  constexpr int32_t kOut = 35;
  constexpr int32_t kIn = 400;
  for (const int32_t block : {16, 32, 64, 128, kIn}) {
    for (const uint8_t codes : {0x7f, 0x80, 0x77, 0xff}) {
      RandomMatrix w(GetParam().format, kOut, kIn, 1, block, 1);
      std::fill_n(w.codes(), w.view.bytes(), codes);
      w.view.zero = nullptr;
      for (const float x : {3.0f, -3.0f}) {
        for (const int32_t rows : {1, 6, 21}) {
          SCOPED_TRACE(testing::Message() << rows << " x " << x << ", codes " << int{codes});
          expect_specified(w, std::vector<float>(static_cast<size_t>(rows * kIn), x), rows);
        }
      }
    }
  }
}

// Stored column k meets input column order[k].
TEST_P(Matmul, ColumnsInAnotherOrder) {
  constexpr int32_t kIn = 200;
  constexpr int32_t kRows = 11;
  RandomMatrix w(GetParam().format, 50, kIn, 1, 32);
  const std::vector<float> x = random_floats(kRows * kIn, 2);
  std::vector<int32_t> order;
  for (int32_t k = 0; k < kIn; ++k) order.push_back((k * 7 + 3) % kIn);
  std::vector<float> ordered(x.size());
  for (int32_t t = 0; t < kRows; ++t) {
    for (int32_t k = 0; k < kIn; ++k) {
      ordered[static_cast<size_t>(t * kIn + k)] =
          x[static_cast<size_t>(t * kIn + order[static_cast<size_t>(k)])];
    }
  }
  const std::vector<float> want = linear(2, w, ordered, kRows);
  w.view.order = order.data();
  const std::vector<float> got = linear(2, w, x, kRows);
  EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * 4), 0);
}

TEST_P(Matmul, BitsOfARowDependOnTheRowAlone) {
  for (const Shape& s :
       {Shape{64, 140, 300, 128}, Shape{40, 37, 130, 48}, Shape{64, 64, 512, 128},
        Shape{40, 70, 300, 32}, Shape{40, 70, 300, 300, 1}, Shape{160, 48, 1100, 128},
        Shape{40, 40, 1500, 600}, Shape{40, 40, 700, 8, 1}}) {
    const RandomMatrix w(GetParam().format, s.out, s.in, 3, s.block, s.block_out);
    const std::vector<float> x = random_floats(int64_t{s.rows} * s.in, 4);
    const std::vector<float> whole = linear(1, w, x, s.rows);
    for (int threads = 2; threads <= 4; ++threads) {
      EXPECT_EQ(std::memcmp(linear(threads, w, x, s.rows).data(), whole.data(), whole.size() * 4),
                0);
    }
    auto c = compute(2);
    for (const int32_t count : {1, 2, 3, 4, 5, 6, 7, 11, 15, 16, 17, 31, 32, 33}) {
      // Some rows, backwards, by index.
      std::vector<int32_t> index;
      for (int32_t i = 0; i < count; ++i) index.push_back(s.rows - 1 - 3 * i % s.rows);
      std::vector<float> y(static_cast<size_t>(count * s.out));
      const GroupedLinear group{w.view,       x.data(), s.in,     s.rows,
                                index.data(), count,    y.data(), s.out};
      c->linear_grouped({&group, 1});
      for (int32_t i = 0; i < count; ++i) {
        ASSERT_EQ(
            std::memcmp(y.data() + i * s.out, whole.data() + index[static_cast<size_t>(i)] * s.out,
                        static_cast<size_t>(s.out) * 4),
            0)
            << "row " << i << " of " << count;
      }
    }
  }
}

// Few rows are converted by the caller, many by the team.
TEST_P(Matmul, DenormalRowsGiveTheSameBitsAloneAndWithMany) {
  constexpr int32_t kIn = 2048;
  constexpr int32_t kRows = 40;
  const RandomMatrix w(GetParam().format, 20, kIn, 5);
  const std::vector<float> x(size_t{kRows} * kIn, 1e-39f);
  const std::vector<float> whole = linear(2, w, x, kRows);
  const std::vector<float> one = linear(2, w, x, 1);
  EXPECT_EQ(std::memcmp(one.data(), whole.data(), one.size() * 4), 0);
}

TEST_P(Matmul, AnySplitOfTheUnitsGivesTheSameBits) {
  constexpr int32_t kRows = 21;
  const RandomMatrix w(GetParam().format, 90, 200, 5);
  const MatmulKernel& kernel = kernel_for(w.view);
  const std::vector<float> x = random_floats(kRows * 200, 6);
  std::vector<float> converted(kRows * 224 + 64);
  const void* input = x.data();
  int64_t stride = 200;
  if (kernel.activation == ActivationFormat::kBF16) {
    input = converted.data();
    stride = 224;
    ops_.convert_bf16(x.data(), 200, converted.data(), stride, 200, 0, kRows);
  } else if (kernel.activation == ActivationFormat::kI8) {
    input = converted.data();
    stride = quant_row_bytes(quant_layout(w.view));
    ops_.quantize(quant_layout(w.view), x.data(), 200, converted.data(), stride, 0, kRows);
  } else if (kernel.activation == ActivationFormat::kF8Order) {
    input = converted.data();
    stride = 224;
    ops_.order_f8(x.data(), 200, converted.data(), stride, 200, w.view.block_in, 0, kRows);
  }
  std::vector<std::byte> scratch(static_cast<size_t>(matmul_scratch_bytes(200)) + 64);
  void* aligned =
      reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
  const auto run = [&](const std::vector<int64_t>& cuts) {
    std::vector<float> y(kRows * 90);
    MatmulArgs a{w.view, input, stride, nullptr, kRows, y.data(), 90};
    for (size_t i = 0; i + 1 < cuts.size(); ++i)
      run_matmul(kernel, a, cuts[i], cuts[i + 1], aligned);
    return y;
  };
  const std::vector<float> whole = run({0, 90});
  for (const std::vector<int64_t>& cuts :
       {std::vector<int64_t>{0, 1, 90}, {0, 3, 7, 20, 90}, {0, 16, 48, 90}, {0, 89, 90}}) {
    const std::vector<float> parts = run(cuts);
    EXPECT_EQ(std::memcmp(parts.data(), whole.data(), whole.size() * 4), 0);
  }
}

// A NaN stays in its own row and column, also beyond the ends of blocks and rows.
TEST_P(Matmul, NanStaysInItsRow) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [in, block] : {std::pair{70, 48}, {96, 48}, {300, 48}, {300, 32}, {300, 300}}) {
    constexpr int32_t kRows = 14;
    const RandomMatrix w(GetParam().format, 20, in, 7, block);
    std::vector<float> x = random_floats(kRows * in, 8);
    for (int32_t k = 0; k < in; ++k) x[static_cast<size_t>(5 * in + k)] = nan;
    const std::vector<float> y = linear(2, w, x, kRows);
    for (int32_t i = 0; i < kRows * 20; ++i) {
      ASSERT_EQ(std::isnan(y[static_cast<size_t>(i)]), i / 20 == 5) << i;
    }
  }
}

// Groups with uneven rows, empty ones among them, sharing and not sharing x.
TEST_P(Matmul, GroupsAgreeWithSingleProducts) {
  constexpr int32_t kIn = 136;
  const std::vector<float> x = random_floats(50 * kIn, 9);
  const std::vector<float> other = random_floats(30 * kIn, 10);
  const int32_t counts[] = {0, 1, 29, 2, 0, 7};
  std::vector<RandomMatrix> weights;
  weights.reserve(6);
  std::vector<std::vector<int32_t>> indices(6);
  std::vector<std::vector<float>> results(6);
  std::vector<GroupedLinear> groups;
  for (int32_t g = 0; g < 6; ++g) {
    weights.emplace_back(GetParam().format, 33 + g, kIn, static_cast<uint32_t>(20 + g));
    const bool first = g < 4;
    const auto i = static_cast<size_t>(g);
    for (int32_t r = 0; r < counts[g]; ++r) indices[i].push_back((r * 7 + g) % (first ? 50 : 30));
    results[i].resize(static_cast<size_t>(counts[g] * weights[i].view.out));
    groups.push_back({weights[i].view, first ? x.data() : other.data(), kIn, first ? 50 : 30,
                      indices[i].data(), counts[g], results[i].data(), weights[i].view.out});
  }
  compute(3)->linear_grouped(groups);
  for (size_t g = 0; g < 6; ++g) {
    const std::vector<float> all = linear(1, weights[g], g < 4 ? x : other, g < 4 ? 50 : 30);
    const auto out = static_cast<size_t>(weights[g].view.out);
    for (size_t r = 0; r < indices[g].size(); ++r) {
      EXPECT_EQ(std::memcmp(results[g].data() + r * out,
                            all.data() + static_cast<size_t>(indices[g][r]) * out, out * 4),
                0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Matmul, testing::ValuesIn(setups()), [](const auto& info) {
  const bool floats = info.param.activations == Activations::kFloat;
  return test_name(info.param.target, name_of(info.param.format)) + (floats ? "_float" : "");
});

class F8Table : public testing::TestWithParam<std::string> {};

// All 256 codes, at places that whole vectors and tails read, for one row and for many.
TEST_P(F8Table, CodesAreExact) {
  const std::vector<float> table = Golden("numbers").get("e4m3fn");
  auto exec = Exec::create({.threads = 1, .cores = {}});
  auto compute = Compute::create(*exec, GetParam()).value();
  constexpr int32_t kIn = 200;
  for (const int32_t place : {0, 37, 63, 127, 130, 199}) {
    for (const int32_t rows : {1, 20}) {
      RandomMatrix w(WeightFormat::kF8, 256, kIn, 1);
      std::fill_n(w.codes(), 256 * kIn, uint8_t{0});
      for (int32_t code = 0; code < 256; ++code) {
        w.codes()[code * kIn + place] = static_cast<uint8_t>(code);
      }
      const std::vector<float> ones(8, 1.0f);
      w.view.scale = ones.data();
      std::vector<float> x(static_cast<size_t>(rows * kIn), 0.0f);
      for (int32_t t = 0; t < rows; ++t) x[static_cast<size_t>(t * kIn + place)] = 1.0f;
      std::vector<float> y(static_cast<size_t>(rows * 256));
      const LinearOut out[] = {{w.view, y.data(), 256}};
      compute->linear(x.data(), kIn, rows, out);
      for (size_t i = 0; i < y.size(); ++i) {
        const float want = table[i % 256];
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(y[i])) << i;
        } else {
          ASSERT_EQ(y[i], want) << "code " << i % 256 << " at " << place;
        }
      }
    }
  }
}

TEST_P(F8Table, GoldenGemm) {
  const Golden golden("gemm");
  const std::vector<float> x = golden.get("x");
  const std::vector<uint8_t> codes = golden.get<uint8_t>("fp8_block/w/weight");
  const std::vector<float> scales = golden.get("fp8_block/w/weight_scale_inv");
  const MatrixView w{.data = codes.data(),
                     .out = 192,
                     .in = 256,
                     .format = WeightFormat::kF8,
                     .scale = scales.data(),
                     .block_out = 128,
                     .block_in = 128,
                     .scale_stride = 2};
  auto exec = Exec::create({.threads = 2, .cores = {}});
  auto compute = Compute::create(*exec, GetParam()).value();
  std::vector<float> y(5 * 192);
  const LinearOut out[] = {{w, y.data(), 192}};
  compute->linear(x.data(), 256, 5, out);
  const bool rounded =
      ops_for(GetParam()).value().matmul[static_cast<size_t>(w.format)].activation ==
      ActivationFormat::kBF16;
  expect_close(y, golden.get("fp8_block/y"), rounded ? 0x1p-8f : 1e-5f);
}

INSTANTIATE_TEST_SUITE_P(Targets, F8Table, testing::ValuesIn(runnable_targets()),
                         [](const auto& info) { return info.param; });

TEST(Numbers, F8TableIsExact) {
  const std::vector<float> table = Golden("numbers").get("e4m3fn");
  for (int code = 0; code < 256; ++code) {
    const float value = f8e4m3_to_float(static_cast<uint8_t>(code));
    EXPECT_TRUE(value == table[static_cast<size_t>(code)] ||
                (std::isnan(value) && std::isnan(table[static_cast<size_t>(code)])));
  }
}

TEST(Targets, ForcingWhatTheHostLacksNamesWhatItHas) {
  auto exec = Exec::create({.threads = 1, .cores = {}});
  const auto result = Compute::create(*exec, "vax");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(result.error().message.find("vax"), std::string::npos);
  EXPECT_NE(result.error().message.find("scalar"), std::string::npos);
}

TEST(Targets, AutoIsTheStrongest) {
  auto exec = Exec::create({.threads = 1, .cores = {}});
  EXPECT_EQ(Compute::create(*exec, "auto").value()->target(), runnable_targets().back());
}

}  // namespace
}  // namespace fathom
