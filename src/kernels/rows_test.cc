// The row-wise operations of every target: golden values, agreement with scalar, row purity.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "kernels/compute.h"
#include "kernels/targets.h"
#include "kernels/testing/golden.h"
#include "kernels/testing/matrices.h"

namespace fathom {
namespace {

class Rows : public testing::TestWithParam<std::string> {
 protected:
  Rows()
      : exec_(Exec::create({.threads = 3, .cores = {}})),
        compute(Compute::create(*exec_, GetParam()).value()),
        ops(ops_for(GetParam()).value()),
        scalar(ops_for("scalar").value()) {}

 private:
  std::unique_ptr<Exec> exec_;

 protected:
  std::unique_ptr<Compute> compute;
  Ops ops;
  Ops scalar;
};

TEST_P(Rows, GoldenRmsNorm) {
  const Golden golden("rmsnorm");
  for (const int32_t n : {64, 112, 512}) {
    const std::string prefix = std::to_string(n) + "/";
    std::vector<float> x = golden.get(prefix + "x");
    const std::vector<float> weight = golden.get(prefix + "weight");
    const std::vector<float> residual = golden.get(prefix + "residual");
    std::vector<float> y(x.size());
    compute->rms_norm({x.data(), n, weight.data(), 1e-6f, y.data(), n, n}, 6);
    expect_close(y, golden.get(prefix + "y"), 1e-5f);
    compute->add({x.data(), n, residual.data(), n, n}, 6);
    expect_close(x, golden.get(prefix + "residual_out"), 1e-6f);
    compute->rms_norm({x.data(), n, weight.data(), 1e-6f, x.data(), n, n}, 6);
    expect_close(x, golden.get(prefix + "y_after_residual"), 1e-5f);
  }
}

TEST_P(Rows, GoldenRope) {
  const Golden golden("rope");
  for (const auto& item : golden.about["configs"].items()) {
    const std::string prefix = item.key() + "/";
    const int32_t n = item.value()["dim"];
    std::vector<float> x = golden.get(prefix + "x");
    const std::vector<float> cos = golden.get(prefix + "cos");
    const std::vector<float> sin = golden.get(prefix + "sin");
    std::vector<int32_t> rows(14);
    for (int32_t i = 0; i < 14; ++i) rows[static_cast<size_t>(i)] = i;
    compute->rope({x.data(), 3 * n, n, 3, n, rows.data(), cos.data(), sin.data()}, 14);
    expect_close(x, golden.get(prefix + "y_interleaved"), 1e-5f);
  }
}

// Compared as a set id -> weight. A row with a tie may choose otherwise, but the ids given take the
// lowest index, as we do.
TEST_P(Rows, GoldenRouter) {
  const Golden golden("router");
  for (const auto& item : golden.about.items()) {
    const std::string prefix = item.key() + "/";
    const Json& c = item.value();
    const bool v3 = c["topk_method"] == "noaux_tc";
    const int32_t top_k = c["num_experts_per_tok"];
    const GatePolicy policy{.sigmoid = v3,
                            .group_by_top2 = v3,
                            .experts = c["n_routed_experts"],
                            .groups = c["n_group"],
                            .top_groups = c["topk_group"],
                            .top_k = top_k,
                            .normalize = c["norm_topk_prob"],
                            .scale = c["routed_scaling_factor"]};
    const std::vector<float> logits = golden.get(prefix + "logits");
    const std::vector<float> bias = v3 ? golden.get(prefix + "bias") : std::vector<float>{};
    const std::vector<int32_t> want_ids = golden.get<int32_t>(prefix + "ids");
    const std::vector<float> want_weights = golden.get(prefix + "weights");
    const int32_t rows = golden.shape(prefix + "logits")[0];
    std::vector<int32_t> ids(want_ids.size());
    std::vector<float> weights(want_ids.size());
    compute->gate({policy, logits.data(), v3 ? bias.data() : nullptr, ids.data(), weights.data()},
                  rows);
    for (int32_t t = 0; t < rows; ++t) {
      std::map<int32_t, float> got, want;
      for (int32_t k = 0; k < top_k; ++k) {
        const auto i = static_cast<size_t>(t * top_k + k);
        got[ids[i]] = weights[i];
        want[want_ids[i]] = want_weights[i];
      }
      ASSERT_EQ(got.size(), want.size()) << item.key() << " row " << t;
      for (const auto& [id, weight] : want) {
        ASSERT_TRUE(got.contains(id)) << item.key() << " row " << t << " expert " << id;
        ASSERT_NEAR(got[id], weight, 2e-6f * policy.scale) << item.key() << " row " << t;
      }
    }
  }
}

TEST_P(Rows, GateSurvivesAnyLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> logits(4 * 8, std::numeric_limits<float>::quiet_NaN());
  std::fill_n(logits.begin() + 8, 8, inf);
  std::fill_n(logits.begin() + 16, 8, -inf);
  std::fill_n(logits.begin() + 24, 8, 0.0f);
  for (const bool sigmoid : {false, true}) {
    const GatePolicy policy{.sigmoid = sigmoid,
                            .group_by_top2 = sigmoid,
                            .experts = 8,
                            .groups = 4,
                            .top_groups = 2,
                            .top_k = 3,
                            .normalize = true,
                            .scale = 1.0f};
    std::vector<int32_t> ids(12, -1);
    std::vector<float> weights(12);
    compute->gate({policy, logits.data(), nullptr, ids.data(), weights.data()}, 4);
    for (const int32_t id : ids) EXPECT_TRUE(id >= 0 && id < 8);
    EXPECT_EQ(ids[9], 0);
    EXPECT_EQ(ids[10], 1);
    EXPECT_EQ(ids[11], 2);
  }
}

TEST_P(Rows, SiluMulAgreesWithScalar) {
  for (const int32_t n : {1, 7, 8, 16, 33, 1000}) {
    std::vector<float> gate = random_floats(3 * n, 1, 20.0f);
    const std::vector<float> up = random_floats(3 * n, 2);
    gate[0] = -200.0f;
    if (n > 7) gate[7] = 200.0f;
    std::vector<float> got(gate.size()), want(gate.size());
    ops.silu_mul({gate.data(), n, up.data(), n, got.data(), n, n}, 0, 3);
    scalar.silu_mul({gate.data(), n, up.data(), n, want.data(), n, n}, 0, 3);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-6f * std::abs(want[i]) + 1e-30f) << gate[i];
    }
  }
}

TEST_P(Rows, NanPassesThrough) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int32_t at = 0; at < 35; ++at) {
    std::vector<float> gate(35, 1.0f), up(35, 1.0f), y(35);
    gate[static_cast<size_t>(at)] = nan;
    ops.silu_mul({gate.data(), 35, up.data(), 35, y.data(), 35, 35}, 0, 1);
    for (int32_t i = 0; i < 35; ++i) EXPECT_EQ(std::isnan(y[static_cast<size_t>(i)]), i == at);
  }
}

TEST_P(Rows, CombineAgreesWithScalar) {
  constexpr int32_t kTop = 3;
  for (const int32_t n : {5, 64, 77}) {
    const std::vector<float> rows = random_floats(6 * kTop * n, 1);
    const std::vector<float> base = random_floats(6 * n, 2);
    const std::vector<float> weights = random_floats(6 * kTop, 3);
    std::vector<int32_t> slots;
    for (int32_t i = 0; i < 6 * kTop; ++i) slots.push_back((i * 5) % (6 * kTop));
    for (const float* shared : {base.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> got(static_cast<size_t>(6 * n)), want(got.size());
      CombineArgs a{rows.data(), slots.data(), weights.data(), shared, kTop, n, got.data(), n};
      compute->combine(a, 6);
      a.y = want.data();
      scalar.combine(a, 0, 6);
      for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-5f);
    }
  }
}

TEST_P(Rows, EmbedReadsEveryFormatExactly) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
    const RandomMatrix table(format, 11, 45, 4);
    const int32_t ids[] = {10, 0, 3, 3, 7};
    std::vector<float> y(5 * 45);
    compute->embed({table.view, ids, y.data(), 45}, 5);
    for (int32_t t = 0; t < 5; ++t) {
      for (int32_t i = 0; i < 45; ++i) {
        // Kernels flush what is denormal in FP32; FP16's own subnormals are normal there.
        ASSERT_EQ(y[static_cast<size_t>(t * 45 + i)], table.at(ids[t], i)) << name_of(format);
      }
    }
  }
}

TEST_P(Rows, PoolRowsRoundTrip) {
  const auto stored = [](KvFormat format, float v) {
    switch (format) {
      case KvFormat::kF32:
        return v;
      case KvFormat::kBF16:
        return bf16_to_float(float_to_bf16(v));
      case KvFormat::kF8E4M3:
        return f8e4m3_to_float(float_to_f8e4m3(v / 0.25f)) * 0.25f;
      case KvFormat::kF8E5M2:
        return f8e5m2_to_float(float_to_f8e5m2(v / 0.25f)) * 0.25f;
    }
    return v;
  };
  for (const KvFormat format :
       {KvFormat::kF32, KvFormat::kBF16, KvFormat::kF8E4M3, KvFormat::kF8E5M2}) {
    constexpr int32_t kLatent = 40, kRope = 6, kWidth = kLatent + kRope;
    std::vector<std::byte> pool(20 * kWidth * 4);
    const KvLayer kv{pool.data(), format, kLatent, kRope, 0.25f};
    const std::vector<float> c = random_floats(4 * kWidth, 1);
    const int32_t slots[] = {19, 2, 7, 0};
    compute->kv_store({kv, c.data(), kWidth, c.data() + kLatent, kWidth, slots}, 4);
    std::vector<float> keys(4 * kWidth);
    ops.float_attention.load(kv, slots, 4, keys.data(), kv.latent + kv.rope);
    for (size_t i = 0; i < keys.size(); ++i) {
      ASSERT_EQ(keys[i], stored(format, c[i]));
    }
  }
}

TEST_P(Rows, DenormalsAreZeroOnEveryThread) {
  std::vector<float> x(64 * 8, 1e-39f);
  const std::vector<float> delta(64 * 8, 1e-39f);
  compute->add({x.data(), 8, delta.data(), 8, 8}, 64);
  for (const float v : x) EXPECT_EQ(v, 0.0f);
}

TEST_P(Rows, BitsDependOnTheRowAlone) {
  constexpr int32_t kRows = 9, kN = 77;
  const std::vector<float> x = random_floats(kRows * kN, 1);
  const std::vector<float> w = random_floats(kN, 2);
  std::vector<float> whole(x.size()), one(x.size());
  compute->rms_norm({x.data(), kN, w.data(), 1e-6f, whole.data(), kN, kN}, kRows);
  for (int32_t t = 0; t < kRows; ++t) {
    compute->rms_norm({x.data() + t * kN, kN, w.data(), 1e-6f, one.data() + t * kN, kN, kN}, 1);
  }
  EXPECT_EQ(std::memcmp(whole.data(), one.data(), whole.size() * 4), 0);
  compute->silu_mul({x.data(), kN, x.data(), kN, whole.data(), kN, kN}, kRows);
  for (int32_t t = 0; t < kRows; ++t) {
    const float* row = x.data() + t * kN;
    compute->silu_mul({row, kN, row, kN, one.data() + t * kN, kN, kN}, 1);
  }
  EXPECT_EQ(std::memcmp(whole.data(), one.data(), whole.size() * 4), 0);
}

// Activations to INT8, per group of 128 and per row. x * (127 / amax) and x / (amax / 127) may
// round apart where x lies halfway between two codes; nowhere else.
TEST_P(Rows, GoldenActivationQuantisers) {
  const Golden golden("quant");
  const std::vector<float> x = golden.get("x");
  constexpr int32_t kRows = 9, kN = 512;
  const struct {
    const char* name;
    QuantLayout layout;
  } cases[] = {{"int8_group_nearest", {kN, kQuantStep, false}}, {"int8_token", {kN, 0, false}}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto codes = golden.get<int8_t>(std::string(c.name) + "/codes");
    const std::vector<float> scales = golden.get(std::string(c.name) + "/scales");
    const int64_t stride = quant_row_bytes(c.layout);
    std::vector<int8_t> rows(static_cast<size_t>(kRows * stride));
    ops.quantize(c.layout, x.data(), kN, rows.data(), stride, 0, kRows);
    const size_t groups = scales.size() / kRows;
    for (int32_t t = 0; t < kRows; ++t) {
      const QuantRow row = QuantRow::at(c.layout, rows.data(), stride, t);
      for (size_t g = 0; g < groups; ++g) {
        const float want = scales[static_cast<size_t>(t) * groups + g];
        EXPECT_NEAR(row.scales[g], want, want * 1e-6f);
      }
      for (int32_t i = 0; i < kN; ++i) {
        const int32_t at = t * kN + i;
        const float scale = row.scales[static_cast<size_t>(i) / (kN / groups)];
        const float exact = x[static_cast<size_t>(at)] / scale;
        const bool halfway = std::abs(exact - std::floor(exact) - 0.5f) < 1e-4f;
        EXPECT_NEAR(row.codes[i], codes[static_cast<size_t>(at)], halfway ? 1 : 0) << at;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Rows, testing::ValuesIn(runnable_targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace fathom
