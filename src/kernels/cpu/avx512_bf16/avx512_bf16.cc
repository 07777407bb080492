// AVX512_BF16: activations are rounded to BF16 once, and BF16 and FP8 weights meet them in
// VDPBF16PS (two products per lane and instruction, FP32 sums). FP8 codes are exact in BF16.
#include "kernels/cpu/avx512/vector.h"
#include "kernels/cpu/avx512_bf16/attention.h"
#include "kernels/cpu/avx512_bf16/f8.h"

namespace fathom::avx512_bf16 {
namespace {

constexpr int kLanes = 32;
constexpr int kTileRows = 6;
constexpr int kPairTileRows = 3;  // the decoded weights fill as many registers again
constexpr int kTileWeights = 4;
constexpr int kFewRows = 8;      // up to here weights are not unpacked
constexpr int32_t kAhead = 768;  // columns to prefetch ahead

// 64 numbers.
struct Pair {
  B first, second;
};

__mmask32 mask(int n) {
  return static_cast<__mmask32>((uint64_t{1} << n) - 1);
}

// BF16 weight rows.
struct Bf16Rows {
  static constexpr bool kScaled = false;
  static constexpr bool kPairs = false;  // whether 64 numbers are decoded at once
  const MatrixView& w;
  Spread tile_;
  const uint16_t* data;
  int64_t stride;
  int32_t block = 0x40000000;
  Bf16Rows(const MatrixView& matrix, const Spread& rows)
      : w(matrix),
        tile_(rows),
        data(static_cast<const uint16_t*>(w.data) + rows.first * w.in),
        stride(rows.apart * w.in) {}
  Bf16Rows from(int64_t j) const { return {w, tile_.from(j)}; }
  const Spread& tile() const { return tile_; }
  B full(int j, int32_t k) const { return (B)_mm512_loadu_si512(data + j * stride + k); }
  void prefetch(int j, int64_t k) const {
    const char* p = reinterpret_cast<const char*>(data + j * stride + k);
    __builtin_prefetch(p);
    __builtin_prefetch(p + 64);
  }
  B part(int j, int32_t k, int n) const {
    return (B)_mm512_maskz_loadu_epi16(mask(n), data + j * stride + k);
  }
};

struct F8Rows {
  static constexpr bool kScaled = true;
  static constexpr bool kPairs = true;
  const MatrixView& w;
  Spread tile_;
  const uint8_t* codes;
  int64_t stride;
  const float* scales[kTileWeights];  // for block 0 of K
  int32_t block;
  F8Rows(const MatrixView& matrix, const Spread& rows)
      : w(matrix),
        tile_(rows),
        codes(static_cast<const uint8_t*>(w.data) + rows.first * w.in),
        stride(rows.apart * w.in),
        block(matrix.block_in) {
    for (int j = 0; j < kTileWeights; ++j) {
      scales[j] = w.scale + rows.row(j) / w.block_out * w.scale_stride;
    }
  }
  F8Rows from(int64_t j) const { return {w, tile_.from(j)}; }
  const Spread& tile() const { return tile_; }
  const uint8_t* at(int j, int64_t k) const { return codes + j * stride + k; }
  Pair both(int j, int32_t k) const {
    __m512i first, second;
    f8::widen(_mm512_loadu_si512(at(j, k)), first, second);
    return {(B)first, (B)second};
  }
  void prefetch(int j, int64_t k) const { __builtin_prefetch(at(j, k)); }
  B part(int j, int32_t k, int n) const {
    return (B)f8::widen(_mm256_maskz_loadu_epi8(mask(n), at(j, k)));
  }
  float scale(int j, int32_t k_block) const { return scales[j][k_block]; }
};

// Weight rows unpacked to BF16 in scratch, scales still apart.
template <class Raw>
struct Panel {
  static constexpr bool kScaled = Raw::kScaled;
  static constexpr bool kPairs = false;
  Raw raw;
  const uint16_t* rows;
  int64_t stride;
  int32_t block;
  const Spread& tile() const { return raw.tile(); }
  Panel from(int64_t j) const { return {raw.from(j), rows + j * stride, stride, block}; }
  B full(int j, int32_t k) const { return (B)_mm512_loadu_si512(rows + j * stride + k); }
  void prefetch(int, int64_t) const {}
  B part(int j, int32_t k, int n) const {
    return (B)_mm512_maskz_loadu_epi16(mask(n), rows + j * stride + k);
  }
  float scale(int j, int32_t k_block) const { return raw.scale(j, k_block); }
};

#include "kernels/cpu/running_scale.inl"

void spread(__m128 four, F (&out)[4]) {
  const F all = _mm512_broadcast_f32x4(four);
  out[0] = _mm512_permute_ps(all, 0x00);
  out[1] = _mm512_permute_ps(all, 0x55);
  out[2] = _mm512_permute_ps(all, 0xaa);
  out[3] = _mm512_permute_ps(all, 0xff);
}

// A function of its own, or gcc moves the sums through the stack.
template <int R, int W, class Loader>
[[gnu::noinline]] void dot_tile(const Loader& load, const uint16_t* const (&x)[R], int32_t k_end,
                                float* y, int64_t y_stride) {
  // Long streams alone need no prefetch (streams.h), but several rows of arithmetic hide what
  // follows from the core's look-ahead. From the end of a row on: the row of the next W neighbours.
  const bool neighbours = load.tile().apart == 1;
  const bool prefetch = neighbours || R > 1;
  const int64_t skip = neighbours ? (W - 1) * k_end : 0;
  F sum[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) sum[r][j] = V::zero();
  }
  const auto step = [&](const B(&w)[W], auto&& activation) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const B v = activation(r);
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], w[j], v);
    }
  };
  RunningScale<W> scale;
  int32_t k_block = 0;
  for (int32_t k0 = 0; k0 < k_end; k0 += load.block, ++k_block) {
    const int32_t stop = k0 + load.block < k_end ? k0 + load.block : k_end;
    if constexpr (Loader::kScaled) {
      F factor[4];
      spread(scale.next(load, k_block), factor);
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[r][j] = V::mul(sum[r][j], factor[j]);
      }
    }
    int32_t k = k0;
    for (; k + 2 * kLanes <= stop; k += 2 * kLanes) {
      const int64_t ahead = k + kAhead < k_end ? k + kAhead : k + kAhead + skip;
      if (prefetch) {
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) load.prefetch(j, ahead);
      }
      if constexpr (Loader::kPairs) {
        B first[W], second[W];
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) {
          const Pair both = load.both(j, k);
          first[j] = both.first;
          second[j] = both.second;
        }
        step(first, [&](int r) { return (B)_mm512_loadu_si512(x[r] + k); });
        step(second, [&](int r) { return (B)_mm512_loadu_si512(x[r] + k + kLanes); });
      } else {
#pragma GCC unroll 2
        for (int32_t h = k; h < k + 2 * kLanes; h += kLanes) {
          B w[W];
#pragma GCC unroll 8
          for (int j = 0; j < W; ++j) w[j] = load.full(j, h);
          step(w, [&](int r) { return (B)_mm512_loadu_si512(x[r] + h); });
        }
      }
    }
    for (; k < stop; k += kLanes) {
      const int n = stop - k < kLanes ? stop - k : kLanes;
      B w[W];
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) w[j] = load.part(j, k, n);
      step(w, [&](int r) { return (B)_mm512_maskz_loadu_epi16(mask(n), x[r] + k); });
    }
  }
  alignas(16) float last[4];
  _mm_store_ps(last, scale.current);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
      const float total = V::sum(sum[r][j]);
      y[r * y_stride + load.tile().row(j)] = Loader::kScaled ? total * last[j] : total;
    }
  }
}

// R rows from r on; fewer when fewer are left.
template <int R, int W, class Loader>
void dot_some(const Loader& load, const MatmulArgs& a, int32_t r) {
  if constexpr (R > 1) {
    if (a.rows - r < R) return dot_some<R - 1, W>(load, a, r);
  }
  const uint16_t* x[R];
  for (int i = 0; i < R; ++i) {
    const int64_t row = a.index ? a.index[r + i] : r + i;
    x[i] = static_cast<const uint16_t*>(a.x) + row * a.x_stride;
  }
  dot_tile<R, W>(load, x, a.w.in, a.y + r * a.y_stride, a.y_stride);
}

template <class Loader>
constexpr int kRowsOf = Loader::kPairs ? kPairTileRows : kTileRows;

// All rows against `count` neighbouring weight rows.
template <class Loader>
void product(const Loader& weights, int64_t count, const MatmulArgs& a) {
  constexpr int kRows = kRowsOf<Loader>;
  for (int32_t r = 0; r < a.rows; r += kRows) {
    int64_t j = 0;
    for (; j + kTileWeights <= count; j += kTileWeights) {
      dot_some<kRows, kTileWeights>(weights.from(j), a, r);
    }
    for (; j < count; ++j) dot_some<kRows, 1>(weights.from(j), a, r);
  }
}

template <class Raw>
Panel<Raw> unpack(const Raw& raw, int64_t count, int32_t in, uint16_t* rows) {
  const int64_t stride = (in + kLanes - 1) / kLanes * kLanes;
  for (int j = 0; j < count; ++j) {
    uint16_t* row = rows + j * stride;
    int32_t k = 0;
    for (; k + 2 * kLanes <= in; k += 2 * kLanes) {
      const Pair both = raw.both(j, k);
      _mm512_storeu_si512(row + k, (__m512i)both.first);
      _mm512_storeu_si512(row + k + kLanes, (__m512i)both.second);
    }
    for (; k < in; k += kLanes) {
      const int n = in - k < kLanes ? in - k : kLanes;
      _mm512_storeu_si512(row + k, (__m512i)raw.part(j, k, n));
    }
  }
  return {raw, rows, stride, raw.block};
}

template <class Raw>
void matmul(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  if (a.rows <= kFewRows) {
    for_each_four(
        begin, end, a.w.row_bytes(),
        [&](const Spread& rows) { product(Raw(a.w, rows), kTileWeights, a); },
        [&](const Spread& rows, int64_t count) { product(Raw(a.w, rows), count, a); });
    return;
  }
  for (int64_t n = begin; n < end; n += kMatmulPanelRows) {
    const int64_t count = end - n < kMatmulPanelRows ? end - n : kMatmulPanelRows;
    const Raw raw(a.w, {n, 1});
    if constexpr (Raw::kPairs) {
      product(unpack(raw, count, a.w.in, static_cast<uint16_t*>(scratch)), count, a);
    } else {
      product(raw, count, a);
    }
  }
}

void convert_bf16(const float* x, int64_t x_stride, void* y, int64_t y_stride, int32_t n,
                  int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x + t * x_stride;
    uint16_t* to = static_cast<uint16_t*>(y) + t * y_stride;
    for (int32_t i = 0; i < y_stride; i += 16) {
      const int left = n - i < 0 ? 0 : (n - i < 16 ? n - i : 16);
      const int room = y_stride - i < 16 ? static_cast<int>(y_stride - i) : 16;
      _mm256_mask_storeu_epi16(to + i, V::mask(room),
                               (__m256i)_mm512_cvtneps_pbh(V::load_n(from + i, left)));
    }
  }
}

void (*store_other)(const KvStoreArgs&, int64_t, int64_t);  // pools that are not BF16

void kv_store(const KvStoreArgs& a, int64_t begin, int64_t end) {
  if (a.kv.format != KvFormat::kBF16) return store_other(a, begin, end);
  const int32_t width = a.kv.latent + a.kv.rope;
  for (int64_t t = begin; t < end; ++t) {
    uint16_t* row = static_cast<uint16_t*>(a.kv.data) + int64_t{a.slots[t]} * width;
    convert_bf16(a.c + t * a.c_stride, 0, row, a.kv.latent, a.kv.latent, 0, 1);
    convert_bf16(a.k_pe + t * a.k_pe_stride, 0, row + a.kv.latent, a.kv.rope, a.kv.rope, 0, 1);
  }
}

}  // namespace
}  // namespace fathom::avx512_bf16

namespace fathom {

void add_avx512_bf16(Ops& ops) {
  using namespace avx512_bf16;
  ops.matmul[static_cast<int>(WeightFormat::kBF16)] = {ActivationFormat::kBF16, matmul<Bf16Rows>};
  ops.matmul[static_cast<int>(WeightFormat::kF8)] = {ActivationFormat::kBF16, matmul<F8Rows>};
  ops.convert_bf16 = convert_bf16;
  store_other = ops.kv_store;
  ops.kv_store = kv_store;
  ops.attention = {2, 32, attention_query, attention_load, attention_tile};
}

}  // namespace fathom
