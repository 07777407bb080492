// AMX: tiles of 16 weight rows times up to 16 quantized rows, exact sums of 32 bits.
//
// Only for many rows: few are bound by memory, and AVX512_VNNI serves them. Both give the bits of
// quantized_row.h, so a row may meet either.
#include "kernels/cpu/amx/tiles.h"

namespace fathom::amx_int8 {
namespace {

using amx::ActivationTile;
using amx::kColumns;
using amx::kRows;
using Sums = amx::Results<int32_t>;
using Totals = amx::Results<float>;

// Packed activations stay in L2 while the weights pass by.
constexpr int64_t kPackedBytes = 1 << 20;
// Fewer rows leave most of a tile empty.
constexpr int32_t kFewestRows = 9;

// How a weight's columns become tile products. Places are offsets within the codes of an input row,
// where the two halves of a step hold the even and the odd columns of 4-bit weights.
struct Plan {
  QuantLayout q;
  bool nibbles;
  int64_t steps;
  int32_t bytes;     // of K per tile product: a whole unit or a part of it
  int32_t products;  // of a unit
  explicit Plan(const MatrixView& w)
      : q(quant_layout(w)), nibbles(w.format == WeightFormat::kI4), steps(quant_steps(q)) {
    const int32_t unit = q.unit == 0 ? kQuantStep : q.unit;
    const int32_t together = nibbles ? unit / 2 : unit;  // codes
    bytes = together < 64 ? together : 64;
    products = unit / bytes;
  }
  int64_t place(int64_t column, int32_t product) const {
    const int64_t in_step = column % kQuantStep;
    return column - in_step +
           (nibbles ? product * int64_t{kQuantStep / 2} + in_step / 2
                    : in_step + int64_t{product} * bytes);
  }
  int64_t tile_bytes() const { return steps * kQuantStep * kRows; }  // of 16 weight rows
};

// 16 activation rows: codes as the B operand, then scales and sums of codes, [step or unit][16].
struct Packed {
  ActivationTile tile;
  float* scales;
  float* sums;
  static int64_t words(const Plan& plan) {
    return (plan.steps * (kQuantStep / 4) + plan.steps + quant_units(plan.q)) * kColumns;
  }
};

// Rows [t, t + n), where they lie or are to lie.
Packed packed_at(const Plan& plan, int32_t t, int32_t n, uint32_t* to) {
  float* scales = reinterpret_cast<float*>(to + plan.steps * (kQuantStep / 4) * kColumns);
  return {{to, t, n}, scales, scales + plan.steps * kColumns};
}

void pack(const MatmulArgs& a, const Plan& plan, const Packed& x) {
  const auto [words, t, n] = x.tile;
  amx::pack_words(a, a.x_stride / 4, t, n, plan.steps * (kQuantStep / 4), words);
  const bool whole = plan.q.unit == 0;
  for (int32_t i = 0; i < kColumns; ++i) {
    const int32_t r = t + (i < n ? i : 0);
    const QuantRow row = QuantRow::at(plan.q, a.x, a.x_stride, a.index ? a.index[r] : r);
    for (int64_t s = 0; s < (whole ? 1 : plan.steps); ++s) {
      x.scales[s * kColumns + i] = row.scales[s];
    }
    for (int64_t u = 0; !whole && u < quant_units(plan.q); ++u) {
      x.sums[u * kColumns + i] = row.sums[u];
    }
  }
}

// Up to 16 weight rows from n on as A operands: [place / bytes][row][bytes].
void unpack(const MatrixView& w, const Plan& plan, int64_t n, int32_t count, int8_t* to) {
  const auto put = [&](int32_t row, int64_t place, __m512i codes) {
    if (plan.bytes == 64) {
      _mm512_store_si512(to + place * kRows + row * 64, codes);
      return;
    }
    alignas(64) int8_t bytes[64];
    _mm512_store_si512(bytes, codes);
    for (int32_t i = 0; i < 64; i += plan.bytes) {
      __builtin_memcpy(to + (place + i) * kRows + row * plan.bytes, bytes + i,
                       static_cast<size_t>(plan.bytes));
    }
  };
  const __m512i low = _mm512_set1_epi8(15);
  for (int32_t row = 0; row < kRows; ++row) {
    const bool there = row < count;
    const uint8_t* codes =
        static_cast<const uint8_t*>(w.data) + (there ? n + row : n) * w.row_bytes();
    for (int64_t step = 0; step < plan.steps; ++step) {
      const int64_t place = step * kQuantStep;
      if (plan.nibbles) {
        const __m512i raw = there ? _mm512_loadu_si512(codes + place / 2) : _mm512_setzero_si512();
        put(row, place, _mm512_and_si512(raw, low));
        put(row, place + 64, _mm512_and_si512(_mm512_srli_epi16(raw, 4), low));
        continue;
      }
      for (int64_t at = place; at < place + kQuantStep; at += 64) {
        const int64_t left = there ? w.in - at : 0;
        const __mmask64 mask = left >= 64  ? ~__mmask64{0}
                               : left <= 0 ? 0
                                           : (__mmask64{1} << left) - 1;
        put(row, at, _mm512_maskz_loadu_epi8(mask, codes + at));
      }
    }
  }
}

// Weight panel of up to 32 rows, two tiles, from row n on.
struct Panel {
  const int8_t* tiles[2];
  int64_t n;
  int32_t count;
  const float* scales[2 * kRows];  // of each row, for column 0
  const float* zeros[2 * kRows];   // of 4-bit weights; null: 8
  Panel(const MatrixView& w, const int8_t* first, const int8_t* second, int64_t from, int64_t end)
      : tiles{first, second},
        n(from),
        count(static_cast<int32_t>(end - from < 2 * kRows ? end - from : 2 * kRows)) {
    for (int32_t i = 0; i < count; ++i) {
      const int64_t block = (n + i) / w.block_out * w.scale_stride;
      scales[i] = w.scale + block;
      zeros[i] = w.zero ? w.zero + block : nullptr;
    }
  }
  int32_t rows_of(int tile) const { return amx::rows_of_tile(count, tile); }
};

// Sums of the codes at `place` are added to those in the result tiles.
template <int A, int B>
void multiply(const Plan& plan, const Panel& panel, const Packed (&x)[2], int64_t place) {
  const int64_t weights = place * kRows;
  const auto words = [&](int b) { return x[b].tile.words + place / 4 * x[b].tile.n; };
  _tile_loadd(6, words(0), 4 * x[0].tile.n);
  _tile_loadd(4, panel.tiles[0] + weights, plan.bytes);
  _tile_dpbssd(0, 4, 6);
  if constexpr (B > 1) {
    _tile_loadd(7, words(1), 4 * x[1].tile.n);
    _tile_dpbssd(1, 4, 7);
  }
  if constexpr (A > 1) {
    _tile_loadd(5, panel.tiles[1] + weights, plan.bytes);
    _tile_dpbssd(2, 5, 6);
    if constexpr (B > 1) _tile_dpbssd(3, 5, 7);
  }
}

// The sums of the unit that begins at `column`, scaled, are added to `chain`: quantized_row.h, with
// activation rows in lanes. block: which scale of a weight row.
void add_unit(const Plan& plan, const Panel& panel, int tile, const Packed& x, int64_t column,
              int64_t block, const int32_t (&sums)[kRows][kColumns],
              float (&chain)[kRows][kColumns]) {
  const __m512 xs = _mm512_loadu_ps(x.scales + column / kQuantStep * kColumns);
  const __m512 codes = _mm512_loadu_ps(x.sums + column / plan.q.unit * kColumns);
  const int32_t count = panel.rows_of(tile);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t row = kRows * tile + i;
    const float zero = !plan.nibbles ? 0.0f : panel.zeros[row] ? panel.zeros[row][block] : 8.0f;
    const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(sums[i]));
    const __m512 value = _mm512_fmadd_ps(_mm512_set1_ps(-zero), codes, dot);
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(panel.scales[row][block]), xs);
    _mm512_store_ps(chain[i], _mm512_fmadd_ps(scale, value, _mm512_load_ps(chain[i])));
  }
}

void add_chain(const float (&from)[kRows][kColumns], float (&to)[kRows][kColumns]) {
  for (int i = 0; i < kRows; ++i) {
    _mm512_store_ps(to[i], _mm512_add_ps(_mm512_load_ps(to[i]), _mm512_load_ps(from[i])));
  }
}

// One scale for a whole row.
template <int A, int B>
void whole_rows(const Plan& plan, const Panel& panel, const Packed (&x)[2], Totals& total) {
  alignas(64) Sums sums;
  amx::zero_results<A, B>();
  for (int64_t at = 0; at < plan.steps * kQuantStep; at += plan.bytes) {
    multiply<A, B>(plan, panel, x, at);
  }
  amx::store_results<A, B>(sums);
  for (int i = 0; i < A; ++i) {
    for (int j = 0; j < B; ++j) {
      const __m512 xs = _mm512_loadu_ps(x[j].scales);
      for (int32_t r = 0; r < panel.rows_of(i); ++r) {
        const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(panel.scales[kRows * i + r][0]), xs);
        const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(sums[i][j][r]));
        _mm512_store_ps(total[i][j][r], _mm512_mul_ps(scale, dot));
      }
    }
  }
}

// A scale per unit.
template <int A, int B>
void units(const MatrixView& w, const Plan& plan, const Panel& panel, const Packed (&x)[2],
           Totals& total) {
  alignas(64) Sums sums;
  alignas(64) Totals chains[4];
  const int32_t unit = plan.q.unit;
  const int32_t chain_count = quant_chains(unit);
  __builtin_memset(chains, 0, sizeof chains[0] * static_cast<size_t>(chain_count));
  for (int64_t column = 0; column < w.in; column += unit) {
    amx::zero_results<A, B>();
    for (int32_t p = 0; p < plan.products; ++p) {
      multiply<A, B>(plan, panel, x, plan.place(column, p));
    }
    amx::store_results<A, B>(sums);
    Totals& chain = chains[column % kQuantStep / (unit < 32 ? 32 : unit)];
    const int64_t block = column / w.block_in;
    for (int i = 0; i < A; ++i) {
      for (int j = 0; j < B; ++j) {
        add_unit(plan, panel, i, x[j], column, block, sums[i][j], chain[i][j]);
      }
    }
  }
  for (int i = 0; i < A; ++i) {
    for (int j = 0; j < B; ++j) {
      if (chain_count == 2) add_chain(chains[1][i][j], chains[0][i][j]);
      if (chain_count == 4) {
        add_chain(chains[2][i][j], chains[0][i][j]);
        add_chain(chains[3][i][j], chains[1][i][j]);
        add_chain(chains[1][i][j], chains[0][i][j]);
      }
      __builtin_memcpy(total[i][j], chains[0][i][j], sizeof total[i][j]);
    }
  }
}

template <int A, int B>
void results(const MatmulArgs& a, const Plan& plan, const Panel& panel, const Packed (&x)[2]) {
  alignas(64) Totals total;
  amx::publish(&panel);
  if (plan.q.unit == 0) {
    whole_rows<A, B>(plan, panel, x, total);
  } else {
    units<A, B>(a.w, plan, panel, x, total);
  }
  for (int i = 0; i < A; ++i) {
    for (int j = 0; j < B; ++j) {
      amx::write_rows(a, panel.n + kRows * i, panel.rows_of(i), x[j].tile, total[i][j]);
    }
  }
}

void matmul(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan plan(a.w);
  int8_t* weights = static_cast<int8_t*>(scratch);
  uint32_t* packed = reinterpret_cast<uint32_t*>(weights + 2 * plan.tile_bytes());
  const int64_t tile_words = Packed::words(plan);
  int64_t block = kPackedBytes / (4 * tile_words) * kColumns;
  block = block < 2 * kColumns ? 2 * kColumns : block;
  for (int64_t first = 0; first < a.rows; first += block) {
    const int32_t last = static_cast<int32_t>(first + block < a.rows ? first + block : a.rows);
    const auto rows_at = [&](int32_t t) {
      const int32_t left = last - t;
      const int64_t tile = (t - first) / kColumns;
      return packed_at(plan, t, left < kColumns ? left : kColumns, packed + tile * tile_words);
    };
    for (int32_t t = static_cast<int32_t>(first); t < last; t += kColumns) {
      pack(a, plan, rows_at(t));
    }
    int shape = 0;  // the tile configuration in force
    for (int64_t n = begin; n < end; n += 2 * kRows) {
      const Panel panel(a.w, weights, weights + plan.tile_bytes(), n, end);
      for (int i = 0; i < (panel.count > kRows ? 2 : 1); ++i) {
        unpack(a.w, plan, n + kRows * i, panel.rows_of(i), weights + i * plan.tile_bytes());
      }
      for (int32_t t = static_cast<int32_t>(first); t < last; t += 2 * kColumns) {
        const bool two = t + kColumns < last;
        const Packed x[2] = {rows_at(t), two ? rows_at(t + kColumns) : Packed{}};
        const int wanted = x[0].tile.n * 32 + x[1].tile.n;
        if (wanted != shape) amx::configure(x[0].tile.n, x[1].tile.n, plan.bytes);
        shape = wanted;
        amx::for_tiles(panel.count, two, [&]<int A, int B>() { results<A, B>(a, plan, panel, x); });
      }
    }
  }
  _tile_release();
}

}  // namespace
}  // namespace fathom::amx_int8

namespace fathom {

void add_amx_int8(Ops& ops) {
  constexpr WeightFormat kFormats[] = {WeightFormat::kI8, WeightFormat::kI4};
  for (const WeightFormat format : kFormats) {
    MatmulKernel& kernel = ops.matmul[static_cast<int>(format)];
    kernel.many = amx_int8::kFewestRows;
    kernel.run_many = amx_int8::matmul;
  }
}

}  // namespace fathom
