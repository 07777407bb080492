// Absorbed MLA on every target: golden values, an obviously right model, and bits that depend on
// nothing but the row and its cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <span>

#include "kernels/compute.h"
#include "kernels/targets.h"
#include "kernels/testing/golden.h"
#include "kernels/testing/matrices.h"

namespace fathom {
namespace {

struct Dims {
  int32_t heads, latent, rope;
  int32_t width() const { return latent + rope; }
};

constexpr float kKvScale = 0.5f;  // of FP8 pools

// A pool with one sequence's rows at scattered slots, and queries for all of its positions.
struct World {
  World(Dims dims, int32_t positions, KvFormat kv_format, uint32_t seed = 1)
      : d(dims), length(positions), format(kv_format) {
    const int32_t capacity = positions + 5;
    pool.resize(static_cast<size_t>(capacity) * static_cast<size_t>(d.width()) * 4);
    keys = random_floats(int64_t{positions} * d.width(), seed, 0.5f);
    for (float& v : keys) v = bf16_to_float(float_to_bf16(v));
    for (int32_t p = 0; p < positions; ++p) {
      slots.push_back((p ^ 3) < positions ? p ^ 3 : p);
      for (int32_t i = 0; i < d.width(); ++i) {
        const float v = keys[static_cast<size_t>(p * d.width() + i)];
        const auto at = static_cast<size_t>(slots.back() * d.width() + i);
        float& key = keys[static_cast<size_t>(p * d.width() + i)];
        auto* codes = reinterpret_cast<uint8_t*>(pool.data());
        switch (format) {
          case KvFormat::kF32:
            reinterpret_cast<float*>(pool.data())[at] = v;
            break;
          case KvFormat::kBF16:
            reinterpret_cast<uint16_t*>(pool.data())[at] = float_to_bf16(v);
            break;
          case KvFormat::kF8E4M3:
            codes[at] = float_to_f8e4m3(v / kKvScale);
            key = f8e4m3_to_float(codes[at]) * kKvScale;
            break;
          case KvFormat::kF8E5M2:
            codes[at] = float_to_f8e5m2(v / kKvScale);
            key = f8e5m2_to_float(codes[at]) * kKvScale;
            break;
        }
      }
    }
    q_latent = random_floats(int64_t{positions} * d.heads * d.latent, seed + 1, 0.5f);
    q_rope = random_floats(int64_t{positions} * d.heads * d.rope, seed + 2, 0.5f);
  }

  // Rows [first, first + rows) computed in one call, as `rows` of the sequence.
  std::vector<float> attend(Compute& compute, int32_t first, int32_t rows) const {
    const SequenceRows sequence{0, rows, first, slots.data()};
    std::vector<float> out(static_cast<size_t>(rows * d.heads * d.latent), -1.0f);
    compute.attention(args({&sequence, 1}, q_latent.data() + int64_t{first} * d.heads * d.latent,
                           q_rope.data() + int64_t{first} * d.heads * d.rope, out.data()));
    return out;
  }

  AttentionArgs args(std::span<const SequenceRows> sequences, const float* latent,
                     const float* rope, float* out) const {
    return {.kv = {const_cast<std::byte*>(pool.data()), format, d.latent, d.rope, kKvScale},
            .sequences = sequences.data(),
            .sequence_count = static_cast<int32_t>(sequences.size()),
            .heads = d.heads,
            .scale = 0.2f,
            .q_latent = latent,
            .q_rope = rope,
            .q_rope_row_stride = int64_t{d.heads} * d.rope,
            .q_rope_head_stride = d.rope,
            .out = out};
  }

  // Row p, in double; queries as BF16 if the kernel rounds them.
  std::vector<double> model(int32_t p, bool rounded) const {
    const auto seen = [&](float q) {
      return rounded ? double{bf16_to_float(float_to_bf16(q * 0.2f))} : q * 0.2;
    };
    std::vector<double> result;
    for (int32_t h = 0; h < d.heads; ++h) {
      const float* ql = q_latent.data() + (int64_t{p} * d.heads + h) * d.latent;
      const float* qr = q_rope.data() + (int64_t{p} * d.heads + h) * d.rope;
      std::vector<double> scores;
      double max = -1e300;
      for (int32_t j = 0; j <= p; ++j) {
        const float* key = keys.data() + int64_t{j} * d.width();
        double s = 0;
        for (int32_t i = 0; i < d.latent; ++i) s += seen(ql[i]) * key[i];
        for (int32_t i = 0; i < d.rope; ++i) s += seen(qr[i]) * key[d.latent + i];
        scores.push_back(s);
        max = std::max(max, scores.back());
      }
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s - max);
      for (int32_t i = 0; i < d.latent; ++i) {
        double value = 0;
        for (int32_t j = 0; j <= p; ++j) {
          value += scores[static_cast<size_t>(j)] * keys[static_cast<size_t>(j * d.width() + i)];
        }
        result.push_back(value / sum);
      }
    }
    return result;
  }

  Dims d;
  int32_t length;
  KvFormat format;
  std::vector<std::byte> pool;
  std::vector<float> keys, q_latent, q_rope;
  std::vector<int32_t> slots;
};

class MlaAttention : public testing::TestWithParam<std::string> {
 protected:
  Compute& compute(int threads) {
    compute_.reset();
    exec_ = Exec::create({.threads = threads, .cores = {}});
    compute_ = Compute::create(*exec_, GetParam()).value();
    return *compute_;
  }

 private:
  std::unique_ptr<Exec> exec_;
  std::unique_ptr<Compute> compute_;
};

constexpr Dims kDims[] = {{1, 16, 8}, {4, 64, 16}, {3, 37, 6}, {16, 128, 64}, {130, 20, 4}};

// The scalar target is slow, and slower under a sanitizer: the small ones must do.
std::span<const Dims> dims_for(const std::string& target) {
  return std::span(kDims).first(target == "scalar" ? 3 : std::size(kDims));
}

TEST_P(MlaAttention, AgreesWithTheDefinition) {
  for (const Dims& d : dims_for(GetParam())) {
    for (const KvFormat format :
         {KvFormat::kBF16, KvFormat::kF32, KvFormat::kF8E4M3, KvFormat::kF8E5M2}) {
      const World world(d, 300, format);
      const bool rounded =
          format != KvFormat::kF32 && ops_for(GetParam()).value().attention.element_bytes == 2;
      // Scores of magnitude s carry an error of about s * width * 2^-24 into the weights; weights
      // in BF16 are off by 2^-9 of themselves, and so is their sum.
      float largest = 0;
      for (const float key : world.keys) largest = std::max(largest, std::abs(key));
      const double bound = rounded ? largest * 0x1p-8 : 2e-5;
      const std::vector<float> out = world.attend(compute(2), 0, 300);
      for (const int32_t p : {0, 1, 17, 126, 127, 128, 129, 255, 256, 299}) {
        const std::vector<double> want = world.model(p, rounded);
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(out[static_cast<size_t>(p) * want.size() + i], want[i], bound)
              << "heads " << d.heads << " position " << p << " element " << i;
        }
      }
    }
  }
}

TEST_P(MlaAttention, BitsDependOnNothingButTheRow) {
  for (const Dims& d : dims_for(GetParam())) {
    const World world(d, 300, KvFormat::kBF16);
    const std::vector<float> whole = world.attend(compute(1), 0, 300);
    const size_t row = static_cast<size_t>(d.heads * d.latent);
    const auto same = [&](const std::vector<float>& part, int32_t first) {
      return std::memcmp(part.data(), whole.data() + static_cast<size_t>(first) * row,
                         part.size() * 4) == 0;
    };
    for (int threads = 1; threads <= 4; ++threads) {
      Compute& c = compute(threads);
      EXPECT_TRUE(same(world.attend(c, 0, 300), 0)) << threads;
      for (const int32_t p : {0, 1, 127, 128, 200, 299}) {
        EXPECT_TRUE(same(world.attend(c, p, 1), p))
            << "alone: row " << p << ", threads " << threads;
      }
      for (const auto& [first, rows] : {std::pair{0, 130}, {130, 7}, {5, 64}, {137, 163}}) {
        EXPECT_TRUE(same(world.attend(c, first, rows), first)) << "chunk at " << first;
      }
    }
  }
}

TEST_P(MlaAttention, NeighboursInABatchChangeNothing) {
  const Dims d{4, 64, 16};
  const World world(d, 290, KvFormat::kBF16);
  const std::vector<float> whole = world.attend(compute(1), 0, 290);
  const size_t row = static_cast<size_t>(d.heads * d.latent);
  // The same cache read by three sequences: a decode, a chunk, a short prompt.
  const SequenceRows sequences[] = {{0, 1, 289, world.slots.data()},
                                    {1, 40, 100, world.slots.data()},
                                    {41, 3, 0, world.slots.data()}};
  std::vector<int32_t> positions{289};
  for (int32_t i = 0; i < 40; ++i) positions.push_back(100 + i);
  for (int32_t i = 0; i < 3; ++i) positions.push_back(i);
  std::vector<float> ql, qr;
  for (const int32_t p : positions) {
    const auto l = world.q_latent.begin() + int64_t{p} * d.heads * d.latent;
    const auto r = world.q_rope.begin() + int64_t{p} * d.heads * d.rope;
    ql.insert(ql.end(), l, l + d.heads * d.latent);
    qr.insert(qr.end(), r, r + d.heads * d.rope);
  }
  for (int threads = 1; threads <= 3; ++threads) {
    std::vector<float> out(positions.size() * row);
    compute(threads).attention(world.args(sequences, ql.data(), qr.data(), out.data()));
    for (size_t i = 0; i < positions.size(); ++i) {
      EXPECT_EQ(std::memcmp(out.data() + i * row,
                            whole.data() + static_cast<size_t>(positions[i]) * row, row * 4),
                0)
          << "row " << i << " threads " << threads;
    }
  }
}

// Caches so long that their blocks are computed in several rounds, which end within a sequence.
TEST_P(MlaAttention, RoundsOfBlocksCannotBeTold) {
  const Dims d{2, 16, 8};
  const World world(d, 12'900, KvFormat::kF32);
  const int32_t positions[] = {12'899, 300, 9'000, 5'000};
  std::vector<SequenceRows> sequences;
  std::vector<float> ql, qr, want;
  for (const int32_t p : positions) {
    sequences.push_back({static_cast<int32_t>(sequences.size()), 1, p, world.slots.data()});
    const auto l = world.q_latent.begin() + int64_t{p} * d.heads * d.latent;
    const auto r = world.q_rope.begin() + int64_t{p} * d.heads * d.rope;
    ql.insert(ql.end(), l, l + d.heads * d.latent);
    qr.insert(qr.end(), r, r + d.heads * d.rope);
    const std::vector<float> alone = world.attend(compute(1), p, 1);
    want.insert(want.end(), alone.begin(), alone.end());
  }
  for (int threads = 2; threads <= 4; ++threads) {
    std::vector<float> out(want.size());
    compute(threads).attention(world.args(sequences, ql.data(), qr.data(), out.data()));
    EXPECT_EQ(std::memcmp(out.data(), want.data(), want.size() * 4), 0) << threads;
  }
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * 4096;
}

// Of seven rows and 64 blocks, partial results take 15 MB; with V3's sizes it would be gigabytes.
TEST(LongCaches, TakeBoundedScratch) {
  const std::vector<std::string> targets = runnable_targets();
  if (std::ranges::find(targets, "avx2") == targets.end()) GTEST_SKIP() << "needs AVX2";
  const World world({128, 64, 8}, 64 * kKvBlock, KvFormat::kBF16);
  const auto exec = Exec::create({.threads = 2, .cores = {}});
  const auto compute = Compute::create(*exec, "avx2").value();
  const int64_t before = resident_bytes();
  world.attend(*compute, world.length - 7, 7);
  EXPECT_LT(resident_bytes() - before, 10 << 20);
}

// What stands at positions that a row does not see must not reach it, be it NaN.
TEST_P(MlaAttention, LaterPositionsAreInvisible) {
  const Dims d{2, 24, 8};
  for (const KvFormat format : {KvFormat::kF32, KvFormat::kBF16}) {
    World world(d, 40, format);
    const std::vector<float> before = world.attend(compute(1), 0, 40);
    const int64_t bytes = d.width() * (format == KvFormat::kF32 ? 4 : 2);
    std::memset(world.pool.data() + world.slots[29] * bytes, 0xff,
                static_cast<size_t>(bytes));  // NaN
    const std::vector<float> after = world.attend(compute(1), 0, 40);
    const size_t row = static_cast<size_t>(d.heads * d.latent);
    EXPECT_EQ(std::memcmp(before.data(), after.data(), 29 * row * 4), 0);
    for (size_t i = 29 * row; i < after.size(); ++i) ASSERT_TRUE(std::isnan(after[i])) << i;
  }
}

TEST_P(MlaAttention, Golden) {
  const fathom::Golden golden("mla");
  for (const auto& item : golden.about.items()) {
    const std::string prefix = item.key() + "/";
    const Json& c = item.value();
    const Dims d{c["heads"], c["kv_lora_rank"], c["qk_rope_head_dim"]};
    const int32_t nope = c["qk_nope_head_dim"];
    const int32_t v = c["v_head_dim"];
    const std::vector<int32_t> q_lens = c["q_lens"];
    const std::vector<int32_t> kv_lens = c["kv_lens"];
    const std::vector<float> latent = golden.get(prefix + "kv_latent");
    const std::vector<float> k_pe = golden.get(prefix + "k_pe");
    const std::vector<float> q_nope = golden.get(prefix + "q_nope");
    const std::vector<float> q_pe = golden.get(prefix + "q_pe");
    const std::vector<float> kv_b = golden.get(prefix + "kv_b_weight");
    const int32_t total = static_cast<int32_t>(latent.size()) / d.latent;
    const int32_t rows = static_cast<int32_t>(q_pe.size()) / d.heads / d.rope;

    Compute& compute = this->compute(2);
    std::vector<float> pool(static_cast<size_t>(total * d.width()));
    std::vector<int32_t> slots;
    for (int32_t i = 0; i < total; ++i) slots.push_back(total - 1 - i);
    const KvLayer kv{pool.data(), KvFormat::kF32, d.latent, d.rope};
    compute.kv_store({kv, latent.data(), d.latent, k_pe.data(), d.rope, slots.data()}, total);

    // Absorb W_UK in double.
    std::vector<float> q_latent(static_cast<size_t>(rows * d.heads * d.latent));
    for (int32_t th = 0; th < rows * d.heads; ++th) {
      for (int32_t i = 0; i < d.latent; ++i) {
        double sum = 0;
        for (int32_t n = 0; n < nope; ++n) {
          const int32_t w_row = th % d.heads * (nope + v) + n;
          sum += double{q_nope[static_cast<size_t>(th * nope + n)]} *
                 kv_b[static_cast<size_t>(w_row * d.latent + i)];
        }
        q_latent[static_cast<size_t>(th * d.latent + i)] = static_cast<float>(sum);
      }
    }
    std::vector<SequenceRows> sequences;
    int32_t row = 0;
    int32_t key = 0;
    for (size_t s = 0; s < q_lens.size(); ++s) {
      sequences.push_back({row, q_lens[s], kv_lens[s] - q_lens[s], slots.data() + key});
      row += q_lens[s];
      key += kv_lens[s];
    }
    std::vector<float> out(q_latent.size());
    compute.attention({.kv = kv,
                       .sequences = sequences.data(),
                       .sequence_count = static_cast<int32_t>(sequences.size()),
                       .heads = d.heads,
                       .scale = c["softmax_scale"].get<float>(),
                       .q_latent = q_latent.data(),
                       .q_rope = q_pe.data(),
                       .q_rope_row_stride = int64_t{d.heads} * d.rope,
                       .q_rope_head_stride = d.rope,
                       .out = out.data()});
    SCOPED_TRACE(item.key());
    expect_close(out, golden.get(prefix + "out_latent"), 1e-5f);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MlaAttention, testing::ValuesIn(runnable_targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace fathom
