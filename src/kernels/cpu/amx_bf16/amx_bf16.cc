// AMX: BF16 tiles of 16 weight rows x 32 K against 32 K x up to 16 activation rows, FP32 sums.
//
// Weights are the A operand: they lie in memory as the tile wants them. Activations are the B
// operand, packed per call: B[pair][row] holds two neighbouring K of one row. Every element of a
// result tile goes through the same chain of sums (K from 0 in steps of 32, per block of K when
// scaled), whatever the number of columns; so one row gives the same bits as a thousand.
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512_bf16/f8.h"

namespace fathom::amx_bf16 {
namespace {

using amx::ActivationTile;
using amx::kColumns;
using amx::kRows;
constexpr int kStep = 32;  // K per tile product
// Packed activations stay in L2 while the weights pass by.
constexpr int64_t kPackedBytes = 1 << 20;

// Tile products that a block of K takes: 32 K each, the last one padded.
int64_t steps_per_block(const MatrixView& w) {
  const int32_t block = w.block_in < w.in ? w.block_in : w.in;
  return (block + kStep - 1) / kStep;
}

// Tile products that a row of w takes.
int64_t padded_steps(const MatrixView& w) {
  if (w.format != WeightFormat::kF8) return (w.in + kStep - 1) / kStep;
  return (w.in + w.block_in - 1) / w.block_in * steps_per_block(w);
}

// Pairs of K of a packed row, with room for the last step of a block that starts anywhere.
int64_t packed_pairs(int32_t in) {
  return ((in + 31) / 32 + 1) * 16;
}

// Rows [t, t + n) of x to packed[pair][n]; zeros behind their end. Rows of x are padded with zeros
// to a multiple of 32.
void pack(const MatmulArgs& a, int32_t t, int32_t n, int64_t pairs, uint32_t* packed) {
  const int64_t stored = (a.w.in + 31) / 32 * 16;
  amx::pack_words(a, a.x_stride / 2, t, n, stored, packed);
  __builtin_memset(packed + stored * n, 0, static_cast<size_t>((pairs - stored) * n) * 4);
}

// 16 weight rows as tiles: from memory where a whole tile lies there, else from a padded copy.
struct WeightTiles {
  const uint16_t* data;  // tile of step i at data + i * step
  int64_t stride;        // elements between its rows
  int64_t step;
  const uint16_t* at(int64_t i) const { return data + i * step; }
};

// C[a][b] += W[a] . X[b] over steps [begin, end).
template <int A, int B>
inline void multiply(const WeightTiles (&w)[2], const ActivationTile (&x)[2], int64_t begin,
                     int64_t end, int64_t first_pair) {
  amx::publish(&w);
  const uint32_t* b0 = x[0].words + first_pair * x[0].n;
  const uint32_t* b1 = B > 1 ? x[1].words + first_pair * x[1].n : nullptr;
  for (int64_t i = begin; i < end; ++i) {
    _tile_loadd(6, b0, 4 * x[0].n);
    b0 += 16 * x[0].n;
    _tile_loadd(4, w[0].at(i), 2 * w[0].stride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (B > 1) {
      _tile_loadd(7, b1, 4 * x[1].n);
      b1 += 16 * x[1].n;
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (A > 1) {
      _tile_loadd(5, w[1].at(i), 2 * w[1].stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (B > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

// total += scale x the block's sums, for each weight row. scales: of the rows, for block 0 of K.
void add_scaled(const float* const* scales, int32_t count, int64_t k_block,
                const float (&block)[kRows][kColumns], float (&total)[kRows][kColumns]) {
  for (int32_t i = 0; i < count; ++i) {
    const __m512 scale = _mm512_set1_ps(scales[i][k_block]);
    const __m512 sum = _mm512_fmadd_ps(scale, _mm512_load_ps(block[i]), _mm512_load_ps(total[i]));
    _mm512_store_ps(total[i], sum);
  }
}

// Weight panel of up to 32 rows (A tiles of 16) from row n on.
struct Panel {
  WeightTiles tiles[2];
  int64_t n;
  int32_t count;
  // FP8 only.
  uint16_t* scratch[2];            // where the tiles lie
  const float* scales[2 * kRows];  // of each row, for block 0 of K
  bool unpacked = false;           // the tiles hold all blocks
  int32_t rows_of(int tile) const { return amx::rows_of_tile(count, tile); }
};

// Where to prefetch from for weight row `row` at k: further on, and from the row's end to the row
// of the next panel.
const char* ahead(const MatrixView& w, const uint8_t* row, int32_t k) {
  constexpr int32_t kAhead = 512;
  const int64_t at = k + kAhead < w.in ? k + kAhead : k + kAhead - w.in + int64_t{2 * kRows} * w.in;
  return reinterpret_cast<const char*>(row + at);
}

// Block b of K of the panel's row tile i, as BF16 tiles.
void unpack_block(const MatrixView& w, const Panel& panel, int i, int64_t b) {
  constexpr int32_t kTile = kRows * kStep;
  const int32_t begin = static_cast<int32_t>(b * w.block_in);
  const int32_t stop = w.in - begin < w.block_in ? w.in : begin + w.block_in;
  uint16_t* tiles = panel.scratch[i] + b * steps_per_block(w) * kTile;
  for (int32_t r = 0; r < panel.rows_of(i); ++r) {
    const uint8_t* row =
        static_cast<const uint8_t*>(w.data) + (panel.n + kRows * i + r) * int64_t{w.in};
    uint16_t* tile = tiles + r * kStep;
    int32_t k = begin;
    for (; k + 2 * kStep <= stop; k += 2 * kStep, tile += 2 * kTile) {
      __m512i first, second;
      _mm_prefetch(ahead(w, row, k), _MM_HINT_T0);
      f8::widen(_mm512_loadu_si512(row + k), first, second);
      _mm512_store_si512(tile, first);
      _mm512_store_si512(tile + kTile, second);
    }
    for (; k < stop; k += kStep, tile += kTile) {
      const int32_t left = stop - k < kStep ? stop - k : kStep;
      const auto mask = static_cast<__mmask32>((uint64_t{1} << left) - 1);
      _mm512_store_si512(tile, f8::widen(_mm256_maskz_loadu_epi8(mask, row + k)));
    }
  }
}

using Results = amx::Results<float>;

template <int A, int B>
void plain_results(const MatrixView& w, const Panel& panel, const ActivationTile (&x)[2],
                   Results& total) {
  amx::zero_results<A, B>();
  multiply<A, B>(panel.tiles, x, 0, (w.in + kStep - 1) / kStep, 0);
  amx::store_results<A, B>(total);
}

template <int A, int B>
void scaled_results(const MatrixView& w, const Panel& panel, const ActivationTile (&x)[2],
                    Results& total) {
  alignas(64) Results block;
  __builtin_memset(total, 0, sizeof total);
  const int64_t blocks = (w.in + w.block_in - 1) / w.block_in;
  const int64_t steps = steps_per_block(w);
  const auto unpack = [&](int64_t b) {
    for (int i = 0; i < A && !panel.unpacked; ++i) unpack_block(w, panel, i, b);
  };
  unpack(0);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t left = (w.in - b * w.block_in + kStep - 1) / kStep;
    amx::zero_results<A, B>();
    multiply<A, B>(panel.tiles, x, b * steps, b * steps + (left < steps ? left : steps),
                   b * w.block_in / 2);
    if (b + 1 < blocks) unpack(b + 1);  // while the tiles multiply
    amx::store_results<A, B>(block);
    for (int i = 0; i < A; ++i) {
      for (int j = 0; j < B; ++j) {
        add_scaled(panel.scales + kRows * i, panel.rows_of(i), b, block[i][j], total[i][j]);
      }
    }
  }
}

template <bool kScaled, int A, int B>
void results(const MatmulArgs& a, const Panel& panel, const ActivationTile (&x)[2]) {
  alignas(64) Results total;
  if constexpr (kScaled) {
    scaled_results<A, B>(a.w, panel, x, total);
  } else {
    plain_results<A, B>(a.w, panel, x, total);
  }
  for (int i = 0; i < A; ++i) {
    for (int j = 0; j < B; ++j) {
      amx::write_rows(a, panel.n + kRows * i, panel.rows_of(i), x[j], total[i][j]);
    }
  }
}

// BF16 rows in place if every tile lies within the matrix, else copied and padded with zeros.
struct Bf16Weights {
  static constexpr bool kScaled = false;
  static WeightTiles tiles(const MatrixView& w, int64_t n, int32_t count, uint16_t* scratch) {
    const uint16_t* rows = static_cast<const uint16_t*>(w.data) + n * w.in;
    if (count == kRows && w.in % kStep == 0) return {rows, w.in, kStep};
    const int64_t stride = (w.in + kStep - 1) / kStep * kStep;
    for (int32_t i = 0; i < kRows; ++i) {
      __builtin_memset(scratch + i * stride, 0, static_cast<size_t>(stride) * 2);
      if (i < count)
        __builtin_memcpy(scratch + i * stride, rows + int64_t{i} * w.in,
                         static_cast<size_t>(w.in) * 2);
    }
    return {scratch, stride, kStep};
  }
};

// FP8 codes as BF16, tile after tile; each block of K starts a new tile. Unpacked block by block as
// the first activation tiles come by, so that a single row finds them in L1.
struct F8Weights {
  static constexpr bool kScaled = true;
  static WeightTiles tiles(const MatrixView&, int64_t, int32_t, uint16_t* scratch) {
    return {scratch, kStep, kRows * kStep};
  }
};

// Rows [first, last) of the product against weight rows [begin, end).
template <class Weights>
void row_block(const MatmulArgs& a, int64_t begin, int64_t end, int32_t first, int32_t last,
               uint16_t* weights, uint32_t* packed) {
  const int64_t pairs = packed_pairs(a.w.in);
  for (int32_t t = first; t < last; t += kColumns) {
    const int32_t n = last - t < kColumns ? last - t : kColumns;
    pack(a, t, n, pairs, packed + (t - first) * pairs);
  }
  const auto tile_at = [&](int32_t t) {
    const int32_t left = last - t;
    return ActivationTile{packed + (t - first) * pairs, t, left < kColumns ? left : kColumns};
  };
  const int64_t tile_floats = padded_steps(a.w) * kRows * kStep;
  int shape = 0;  // the tile configuration in force
  for (int64_t n = begin; n < end; n += 2 * kRows) {
    Panel panel;
    panel.n = n;
    panel.count = static_cast<int32_t>(end - n < 2 * kRows ? end - n : 2 * kRows);
    for (int i = 0; i < (panel.count > kRows ? 2 : 1); ++i) {
      panel.scratch[i] = weights + i * tile_floats;
      panel.tiles[i] = Weights::tiles(a.w, n + kRows * i, panel.rows_of(i), panel.scratch[i]);
    }
    for (int32_t i = 0; Weights::kScaled && i < panel.count; ++i) {
      panel.scales[i] = a.w.scale + (n + i) / a.w.block_out * a.w.scale_stride;
    }
    for (int32_t t = first; t < last; t += 2 * kColumns) {
      const bool two = t + kColumns < last;
      const ActivationTile x[2] = {tile_at(t), two ? tile_at(t + kColumns) : ActivationTile{}};
      const int wanted = x[0].n * 32 + x[1].n;
      if (wanted != shape) amx::configure(x[0].n, x[1].n, 2 * kStep);
      shape = wanted;
      amx::for_tiles(panel.count, two,
                     [&]<int A, int B>() { results<Weights::kScaled, A, B>(a, panel, x); });
      panel.unpacked = true;
    }
  }
}

template <class Weights>
void matmul(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  uint16_t* weights = static_cast<uint16_t*>(scratch);
  uint32_t* packed = reinterpret_cast<uint32_t*>(weights + 2 * padded_steps(a.w) * kRows * kStep);
  const int64_t row_bytes = packed_pairs(a.w.in) * 4;
  int64_t block = kPackedBytes / row_bytes / kColumns * kColumns;
  block = block < 2 * kColumns ? 2 * kColumns : block;
  for (int64_t t = 0; t < a.rows; t += block) {
    const int64_t last = t + block < a.rows ? t + block : a.rows;
    row_block<Weights>(a, begin, end, static_cast<int32_t>(t), static_cast<int32_t>(last), weights,
                       packed);
  }
  _tile_release();
}

}  // namespace
}  // namespace fathom::amx_bf16

namespace fathom {

void add_amx_bf16(Ops& ops) {
  using namespace amx_bf16;
  ops.matmul[static_cast<int>(WeightFormat::kBF16)] = {ActivationFormat::kBF16,
                                                       matmul<Bf16Weights>};
  ops.matmul[static_cast<int>(WeightFormat::kF8)] = {ActivationFormat::kBF16, matmul<F8Weights>};
}

}  // namespace fathom
