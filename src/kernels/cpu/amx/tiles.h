// Tile registers and what goes in and out of them, whatever the numbers. Internal linkage only.
//
// A product of tiles: 16 weight rows (operand A, as they lie in memory) times up to 16 activation
// rows (operand B, packed: words of 32 bits of K, for each word all rows). Results lie with one
// weight row after the other.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/avx512/transpose.h"
#include "kernels/ops.h"

namespace fathom::amx {
namespace {

constexpr int kRows = 16;     // of a tile: weight rows
constexpr int kColumns = 16;  // of a tile: activation rows

// Tile registers: results C[a][b] are 0 ... 3, weights 4 and 5, activations 6 and 7.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int tile_rows, int bytes) {
    rows[tile] = static_cast<uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};

// gcc's tile intrinsics do not say that they read memory: what was written must be there before
// them.
inline void publish(const void* written) {
  asm volatile("" : : "r"(written) : "memory");
}

// For activation tiles of n0 and n1 rows (n1 may be 0: one tile) and `bytes` of K per tile product.
inline void configure(int n0, int n1, int bytes) {
  TileConfig config;
  const int columns[2] = {n0, n1 > 0 ? n1 : n0};
  for (int a = 0; a < 2; ++a) {
    for (int b = 0; b < 2; ++b) config.set(2 * a + b, kRows, 4 * columns[b]);
    config.set(4 + a, kRows, bytes);
  }
  for (int b = 0; b < 2; ++b) config.set(6 + b, bytes / 4, 4 * columns[b]);
  publish(&config);
  _tile_loadconfig(&config);
}

// One column of activation tiles: n rows, packed.
struct ActivationTile {
  uint32_t* words;  // [K in words][n]
  int32_t first;    // row of the product
  int32_t n;
};

// Calls f.operator()<A, B>() for as many tiles of weight rows and of activation rows as there are.
template <class F>
inline void for_tiles(int32_t weight_rows, bool two_columns, F&& f) {
  const bool two_rows = weight_rows > kRows;
  if (two_rows && two_columns) return f.template operator()<2, 2>();
  if (two_rows) return f.template operator()<2, 1>();
  if (two_columns) return f.template operator()<1, 2>();
  f.template operator()<1, 1>();
}

template <int A, int B>
inline void zero_results() {
  _tile_zero(0);
  if constexpr (B > 1) _tile_zero(1);
  if constexpr (A > 1) _tile_zero(2);
  if constexpr (A > 1 && B > 1) _tile_zero(3);
}

// Result tiles in memory: [a][b][weight row][activation row].
template <class T>
using Results = T[2][2][kRows][kColumns];

// Weight panel of up to 32 rows, in one or two tiles.
inline int32_t rows_of_tile(int32_t count, int tile) {
  return tile == 0 ? (count < kRows ? count : kRows) : count - kRows;
}

template <int A, int B, class T>
inline void store_results(Results<T>& c) {
  static_assert(sizeof(T) == 4);
  _tile_stored(0, c[0][0], 64);
  if constexpr (B > 1) _tile_stored(1, c[0][1], 64);
  if constexpr (A > 1) _tile_stored(2, c[1][0], 64);
  if constexpr (A > 1 && B > 1) _tile_stored(3, c[1][1], 64);
}

// y[row, n ... n + count) of the tile's rows, from [weight row][activation row].
inline void write_rows(const MatmulArgs& a, int64_t n, int32_t count, const ActivationTile& x,
                       const float (&c)[kRows][kColumns]) {
  __m512i in[16];
  __m512i rows[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) in[i] = _mm512_load_si512(c[i]);
  avx512::transpose16(in, rows);
  const auto mask = static_cast<__mmask16>((1u << count) - 1u);
  for (int32_t t = 0; t < x.n; ++t) {
    _mm512_mask_storeu_epi32(a.y + (x.first + t) * a.y_stride + n, mask, rows[t]);
  }
}

// Rows [t, t + n) of x, each of `words` words and x_words apart, to packed[word][n].
inline void pack_words(const MatmulArgs& a, int64_t x_words, int32_t t, int32_t n, int64_t words,
                       uint32_t* packed) {
  const uint32_t* rows[16];
  for (int32_t i = 0; i < 16; ++i) {
    const int32_t r = t + (i < n ? i : 0);
    rows[i] = static_cast<const uint32_t*>(a.x) + (a.index ? a.index[r] : r) * x_words;
  }
  if (n == 1) {
    __builtin_memcpy(packed, rows[0], static_cast<size_t>(words) * 4);
    return;
  }
  const auto mask = static_cast<__mmask16>((1u << n) - 1u);
  for (int64_t p = 0; p < words; p += 16) {
    __m512i in[16];
    __m512i turned[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) in[i] = _mm512_loadu_si512(rows[i] + p);
    avx512::transpose16(in, turned);
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      _mm512_mask_storeu_epi32(packed + (p + j) * n, mask, turned[j]);
    }
  }
}

}  // namespace
}  // namespace fathom::amx
