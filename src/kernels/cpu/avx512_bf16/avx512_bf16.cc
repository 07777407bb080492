// AVX512_BF16: activations are rounded to BF16 once, and BF16 and FP8 weights meet them in VDPBF16PS
// (two products per lane and instruction, FP32 sums). FP8 codes are exact in BF16.
#include "kernels/cpu/avx512/vector.h"

namespace fathom::avx512_bf16 {
namespace {

using avx512::F;
using avx512::V;
using B = __m512bh;

constexpr int kLanes = 32;
constexpr int kTileRows = 6;
constexpr int kTileWeights = 4;

__mmask32 mask(int n) { return static_cast<__mmask32>((uint64_t{1} << n) - 1); }

// BF16 weight rows.
struct Bf16Rows {
  static constexpr bool kScaled = false;
  static constexpr bool kPacked = false;
  const uint16_t* data;
  int64_t stride;
  int32_t block = 0x40000000;
  Bf16Rows(const MatrixView& w, int64_t row)
      : data(static_cast<const uint16_t*>(w.data) + row * w.in), stride(w.in) {}
  B full(int j, int32_t k) const {
    const uint16_t* p = data + j * stride + k;
    __builtin_prefetch(reinterpret_cast<const char*>(p) + 1024);
    return (B)_mm512_loadu_si512(p);
  }
  B part(int j, int32_t k, int n) const {
    return (B)_mm512_maskz_loadu_epi16(mask(n), data + j * stride + k);
  }
  float scale(int, int32_t) const { return 1; }
};

// E4M3 codes to BF16, exactly.
B f8_to_bf16(__m256i codes) {
  const __m512i c = _mm512_cvtepu8_epi16(codes);
  const __m512i magnitude = _mm512_and_si512(c, _mm512_set1_epi16(0x7f));
  const __m512i normal =
      _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
  // m * 2^-9 for m = 0 ... 7, as BF16.
  const __m512i table = _mm512_castsi128_si512(
      _mm_setr_epi16(0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
  const __mmask32 subnormal = _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(8));
  const __mmask32 nan = _mm512_cmpeq_epu16_mask(magnitude, _mm512_set1_epi16(0x7f));
  __m512i value = _mm512_mask_permutexvar_epi16(normal, subnormal, magnitude, table);
  value = _mm512_mask_mov_epi16(value, nan, _mm512_set1_epi16(0x7fc0));
  const __m512i sign = _mm512_slli_epi16(_mm512_and_si512(c, _mm512_set1_epi16(0x80)), 8);
  return (B)_mm512_or_si512(value, sign);
}

struct F8Rows {
  static constexpr bool kScaled = true;
  static constexpr bool kPacked = true;
  const MatrixView& w;
  int64_t row;
  int32_t block;
  F8Rows(const MatrixView& matrix, int64_t first) : w(matrix), row(first), block(matrix.block_in) {}
  const uint8_t* at(int j, int32_t k) const {
    return static_cast<const uint8_t*>(w.data) + (row + j) * w.in + k;
  }
  B full(int j, int32_t k) const {
    const uint8_t* p = at(j, k);
    __builtin_prefetch(p + 1024);
    return f8_to_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  B part(int j, int32_t k, int n) const {
    return f8_to_bf16(_mm256_maskz_loadu_epi8(mask(n), at(j, k)));
  }
  float scale(int j, int32_t k) const {
    return w.scale[(row + j) / w.block_out * w.scale_stride + k / w.block_in];
  }
};

// Weight rows unpacked to BF16 in scratch, scales still apart.
template <class Raw>
struct Panel {
  static constexpr bool kScaled = Raw::kScaled;
  const Raw& raw;
  const uint16_t* rows;
  int64_t stride;
  int32_t block;
  B full(int j, int32_t k) const { return (B)_mm512_loadu_si512(rows + j * stride + k); }
  B part(int j, int32_t k, int n) const {
    return (B)_mm512_maskz_loadu_epi16(mask(n), rows + j * stride + k);
  }
  float scale(int j, int32_t k) const { return raw.scale(j, k); }
};

// x rows are padded with zeros to a multiple of 32, so only weights need masks.
template <int R, int W, class Loader>
void dot_tile(const Loader& load, const uint16_t* const (&x)[R], int32_t k_end, float* y,
              int64_t y_stride) {
  F total[R][W];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) total[r][j] = V::zero();
  }
  for (int32_t k0 = 0; k0 < k_end; k0 += load.block) {
    const int32_t stop = k0 + load.block < k_end ? k0 + load.block : k_end;
    F acc[R][W];
    for (int r = 0; r < R; ++r) {
      for (int j = 0; j < W; ++j) acc[r][j] = Loader::kScaled ? V::zero() : total[r][j];
    }
    const auto step = [&](int32_t k, auto&& weight) __attribute__((always_inline)) {
      B w[W];
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) w[j] = weight(j);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const B v = (B)_mm512_loadu_si512(x[r] + k);
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) acc[r][j] = _mm512_dpbf16_ps(acc[r][j], w[j], v);
      }
    };
    int32_t k = k0;
    for (; k + kLanes <= stop; k += kLanes) step(k, [&](int j) { return load.full(j, k); });
    if (k < stop) step(k, [&](int j) { return load.part(j, k, stop - k); });
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        total[r][j] = Loader::kScaled ? V::fma(V::set1(load.scale(j, k0)), acc[r][j], total[r][j])
                                      : acc[r][j];
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) y[r * y_stride + j] = V::sum(total[r][j]);
  }
}

template <int R, int W, class Loader>
void dot_some(const Loader& load, const MatmulArgs& a, int32_t r, int64_t n) {
  const uint16_t* x[R];
  for (int i = 0; i < R; ++i) {
    const int64_t row = a.index ? a.index[r + i] : r + i;
    x[i] = static_cast<const uint16_t*>(a.x) + row * a.x_stride;
  }
  dot_tile<R, W>(load, x, a.w.in, a.y + r * a.y_stride + n, a.y_stride);
}

template <int W, class Loader>
void dot_rows(const Loader& load, const MatmulArgs& a, int64_t n) {
  int32_t r = 0;
  for (; r + kTileRows <= a.rows; r += kTileRows) dot_some<kTileRows, W>(load, a, r, n);
  for (; r < a.rows; ++r) dot_some<1, W>(load, a, r, n);
}

template <int W, class Raw>
void weight_rows(const MatmulArgs& a, int64_t n, void* scratch) {
  const Raw raw(a.w, n);
  if (a.rows < kTileRows || !Raw::kPacked) return dot_rows<W>(raw, a, n);
  uint16_t* rows = static_cast<uint16_t*>(scratch);
  const int64_t stride = (a.w.in + kLanes - 1) / kLanes * kLanes;
  for (int j = 0; j < W; ++j) {
    int32_t k = 0;
    for (; k + kLanes <= a.w.in; k += kLanes) {
      _mm512_storeu_si512(rows + j * stride + k, (__m512i)raw.full(j, k));
    }
    if (k < a.w.in) {
      _mm512_storeu_si512(rows + j * stride + k, (__m512i)raw.part(j, k, a.w.in - k));
    }
  }
  dot_rows<W>(Panel<Raw>{raw, rows, stride, raw.block}, a, n);
}

template <class Raw>
void matmul(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  int64_t n = begin;
  for (; n + kTileWeights <= end; n += kTileWeights) weight_rows<kTileWeights, Raw>(a, n, scratch);
  for (; n < end; ++n) weight_rows<1, Raw>(a, n, scratch);
}

void convert_bf16(const float* x, int64_t x_stride, void* y, int64_t y_stride, int32_t n,
                  int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x + t * x_stride;
    uint16_t* to = static_cast<uint16_t*>(y) + t * y_stride;
    for (int32_t i = 0; i < y_stride; i += 16) {
      const int left = n - i < 0 ? 0 : (n - i < 16 ? n - i : 16);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                          (__m256i)_mm512_cvtneps_pbh(V::load_n(from + i, left)));
    }
  }
}

}  // namespace
}  // namespace fathom::avx512_bf16

namespace fathom {

void add_avx512_bf16(Ops& ops) {
  using namespace avx512_bf16;
  ops.matmul[static_cast<int>(WeightFormat::kBF16)] = {ActivationFormat::kBF16, matmul<Bf16Rows>};
  ops.matmul[static_cast<int>(WeightFormat::kF8Block)] = {ActivationFormat::kBF16, matmul<F8Rows>};
  ops.convert[static_cast<int>(ActivationFormat::kBF16)] = convert_bf16;
}

}  // namespace fathom
