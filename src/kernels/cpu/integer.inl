// INT8, INT4 and NVFP4 weights against quantized rows (quantized_row.h),
// written once over a vector of bytes I and compiled in each target's own
// namespace. Include after I, V and F are defined, and kernels/streams.h.
//
// Two shapes of the same exact integer sums. Few rows: lanes lie along K, four
// weight rows stream by and their lanes are summed per unit. Many rows: a panel
// of weights is unpacked once with one weight row per lane, so that a unit's
// sums need no more work than a conversion.
//
// Everything here is static: a function of this file must never be shared
// between targets.

// Weight codes as the bytes of I::dot, a step of 128 columns at a time. kRun: so many dots of codes
// up to kLargest and inputs up to 127, two products each, fit a sum of 16 bits.
struct I8Codes {
  static constexpr bool kNibbles = false;
  static constexpr WeightFormat kFormat = WeightFormat::kI8;
  static B prepare(B raw) { return I::prepare8(raw); }
};
struct I4Codes {
  static constexpr bool kNibbles = true;
  static constexpr WeightFormat kFormat = WeightFormat::kI4;
  static constexpr int kLargest = 15;
  static constexpr int kRun = 8;
  static B prepare(B nibbles) { return nibbles; }
};
struct Fp4Codes {
  static constexpr bool kNibbles = true;
  static constexpr WeightFormat kFormat = WeightFormat::kFp4;
  static constexpr int kZero = 12;
  static constexpr int kLargest = 24;
  static constexpr int kRun = 4;
  // 2 * e2m1 + 12
  static B prepare(B nibbles) {
    return I::lookup(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0),
                     nibbles);
  }
};

template <bool kValue>
struct Flag {
  static constexpr bool kSet = kValue;
};

template <class Codes>
static B dot(B sum, B w, B x) {
  return Codes::kNibbles ? I::dot4(sum, w, x) : I::dot8(sum, w, x);
}

// Bytes of a step: 128 codes or 64 pairs; and the vectors that hold them.
template <class Codes>
constexpr int kStepBytes = Codes::kNibbles ? 64 : 128;
template <class Codes>
constexpr int kStepVectors = kStepBytes<Codes> / I::kBytes;

// Vectors of four-row sums, [slot of 32 columns][4 rows], that a step has.
constexpr int kParts = 16 / V::kLanes;

// Sums of four rows: lane i of even holds the first half of 128-bit lane i for
// each row, odd the second.
struct Halves {
  B even, odd;
};
static Halves sum_pairs(B a, B b, B c, B d) {
  const B ab = I::add(I::even_lanes(a, b), I::odd_lanes(a, b));
  const B cd = I::add(I::even_lanes(c, d), I::odd_lanes(c, d));
  return {I::even_lanes(ab, cd), I::odd_lanes(ab, cd)};
}

// Four numbers per weight row of four: what a step's units are multiplied by or
// added to.
struct UnitVectors {
  F of[kParts][2];  // [.][1]: the odd units of 16 columns
};

// Four weight rows and the places of their scales.
template <class Codes>
struct FourRows {
  const uint8_t* codes[4];
  const float* scales[4];  // I8, I4
  const float* zeros[4];   // I4; null: 8
  const uint8_t* scales8[4];
  float factor;  // Fp4

  // The first `count` rows of the spread; the others repeat the last of them.
  FourRows(const MatrixView& w, const Spread& rows, int64_t count) {
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) {
      const int64_t row = rows.row(j < count ? j : count - 1);
      codes[j] = static_cast<const uint8_t*>(w.data) + row * w.row_bytes();
      if constexpr (Codes::kFormat == WeightFormat::kFp4) {
        scales8[j] = w.scale8 + row * ((w.in + 15) / 16);
      } else {
        const int64_t block = row / w.block_out * w.scale_stride;
        scales[j] = w.scale + block;
        zeros[j] = w.zero ? w.zero + block : nullptr;
      }
    }
    factor = 0.5f * w.global_scale;
  }
};

// Scales (or zeros) of the units of a step, in the order of their sums. `units`
// of them exist.
template <class Codes, int kUnit>
static UnitVectors unit_scales(const FourRows<Codes>& w, const MatrixView& view, int64_t step,
                               int units) {
  UnitVectors s;
  if constexpr (Codes::kFormat == WeightFormat::kFp4) {
    const uint8_t* p[4];
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) p[j] = w.scales8[j] + step * 8;
    I::spread_f8(p, units, s.of);
    for (auto& part : s.of) {
      for (F& v : part) v = V::mul(v, V::set1(w.factor));
    }
  } else if constexpr (kUnit == kQuantStep) {
    const int64_t block = step * kQuantStep / view.block_in;
    s.of[0][0] =
        I::four(w.scales[0][block], w.scales[1][block], w.scales[2][block], w.scales[3][block]);
  } else {
    const float* p[4];
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) p[j] = w.scales[j] + step * (kQuantStep / kUnit);
    I::template spread<kUnit>(p, units, s.of);
  }
  return s;
}
template <class Codes, int kUnit>
static UnitVectors unit_zeros(const FourRows<Codes>& w, const MatrixView& view, int64_t step,
                              int units) {
  UnitVectors s;
  if (Codes::kFormat != WeightFormat::kI4 || w.zeros[0] == nullptr) {
    constexpr int kZero = Codes::kFormat == WeightFormat::kI4   ? 8
                          : Codes::kFormat == WeightFormat::kI8 ? I::kOffset8
                                                                : 12;
    for (auto& part : s.of) {
      for (F& v : part) v = V::set1(kZero);
    }
  } else if constexpr (kUnit == kQuantStep) {
    const int64_t block = step * kQuantStep / view.block_in;
    s.of[0][0] =
        I::four(w.zeros[0][block], w.zeros[1][block], w.zeros[2][block], w.zeros[3][block]);
  } else {
    const float* p[4];
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) p[j] = w.zeros[j] + step * (kQuantStep / kUnit);
    I::template spread<kUnit>(p, units, s.of);
  }
  return s;
}

// Bytes to prefetch ahead, where so many instructions lie between two loads that the core's own
// look-ahead does not reach the next line; 0: none.
template <class Codes, int R>
constexpr int64_t kAhead = R > 1 || Codes::kFormat == WeightFormat::kFp4 ? 1024 : 0;

// y[r, 0 ... 3] for R rows and four weight rows. `kUnit` as in QuantLayout.
template <class Codes, int kUnit, int R>
static void dot_four(const MatrixView& view, const FourRows<Codes>& w, const QuantRow (&x)[R],
                     float (&y)[R][4]) {
  constexpr int kVectors = kStepVectors<Codes>;
  constexpr bool kWide = kUnit == 0 || kUnit == kQuantStep;  // one sum per step or row
  constexpr int kSums = kWide ? 1 : kVectors;
  const int64_t row_bytes = Codes::kNibbles ? (int64_t{view.in} + 1) / 2 : view.in;
  const int64_t steps = (int64_t{view.in} + kQuantStep - 1) / kQuantStep;

  B whole[R][4];
  F total[R][kParts];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) whole[r][j] = I::zero();
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) total[r][p] = V::zero();
  }

  const auto do_step = [&](int64_t step, auto tail) __attribute__((always_inline)) {
    const int64_t at = step * kStepBytes<Codes>;
    const int left = static_cast<int>(row_bytes - at);
    const auto load = [&](int j, int v) __attribute__((always_inline)) {
      const uint8_t* p = w.codes[j] + at + v * I::kBytes;
      if constexpr (decltype(tail)::kSet && Codes::kFormat != WeightFormat::kI4) {
        const int n = left - v * I::kBytes;
        return I::load_n(p, n < 0 ? 0 : n < I::kBytes ? n : I::kBytes);
      } else {
        if (kAhead<Codes, R> > 0) __builtin_prefetch(p + kAhead<Codes, R>);
        return I::load(p);
      }
    };
    B sums[R][kSums][4];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int s = 0; s < kSums; ++s) {
#pragma GCC unroll 8
        for (int j = 0; j < 4; ++j) sums[r][s][j] = kUnit == 0 ? whole[r][j] : I::zero();
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int s = kWide ? 0 : v;
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const B raw = load(j, v);
        if constexpr (Codes::kNibbles) {
          const B low = Codes::prepare(I::low4(raw));
          const B high = Codes::prepare(I::high4(raw));
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            const int8_t* c = x[r].codes + step * kQuantStep + v * I::kBytes;
            sums[r][s][j] = dot<Codes>(sums[r][s][j], low, I::load(c));
            sums[r][s][j] = dot<Codes>(sums[r][s][j], high, I::load(c + kQuantStep / 2));
          }
        } else {
          const B codes = Codes::prepare(raw);
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            const int8_t* c = x[r].codes + step * kQuantStep + v * I::kBytes;
            sums[r][s][j] = dot<Codes>(sums[r][s][j], codes, I::load(c));
          }
        }
      }
    }
    if constexpr (Codes::kNibbles) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int s = 0; s < kSums; ++s) {
#pragma GCC unroll 8
          for (int j = 0; j < 4; ++j) sums[r][s][j] = I::widen(sums[r][s][j]);
        }
      }
    }
    if constexpr (kUnit == 0) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < 4; ++j) whole[r][j] = sums[r][0][j];
      }
      return;
    }
    constexpr int kUnits = kUnit == 0 ? 1 : kQuantStep / (kUnit == 0 ? 1 : kUnit);
    const int columns = static_cast<int>(view.in - step * kQuantStep);
    const int units = columns >= kQuantStep ? kUnits : (columns + kUnit - 1) / (kUnit ? kUnit : 1);
    const UnitVectors scales = unit_scales<Codes, kUnit>(w, view, step, units);
    const UnitVectors zeros = unit_zeros<Codes, kUnit>(w, view, step, units);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F xs = V::set1(x[r].scales[step]);
      const auto add = [&](int part, int odd, B sum, F column_sums) __attribute__((always_inline)) {
        const F value =
            V::fma(V::sub(V::zero(), zeros.of[part][odd]), column_sums, I::to_float(sum));
        total[r][part] = V::fma(V::mul(scales.of[part][odd], xs), value, total[r][part]);
      };
      if constexpr (kWide) {
        const Halves h = sum_pairs(sums[r][0][0], sums[r][0][1], sums[r][0][2], sums[r][0][3]);
        add(0, 0, I::sum_lanes(I::add(h.even, h.odd)), V::set1(x[r].sums[step]));
      } else {
        // Halves of 32-column slots, then units of 16, 32 or 64 columns.
        B even[kParts], odd[kParts];
        Halves h[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          h[v] = sum_pairs(sums[r][v][0], sums[r][v][1], sums[r][v][2], sums[r][v][3]);
        }
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p) {
          if constexpr (Codes::kNibbles) {
            even[p] = h[p].even;
            odd[p] = h[p].odd;
          } else {
            const B first = I::add(h[2 * p].even, h[2 * p].odd);
            const B second = I::add(h[2 * p + 1].even, h[2 * p + 1].odd);
            even[p] = I::even_quads(first, second);
            odd[p] = I::odd_quads(first, second);
          }
        }
        F column_sums[kParts][2];
        I::template spread_sums<kUnit>(x[r].sums + step * kUnits, column_sums);
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p) {
          if constexpr (kUnit == 16) {
            add(p, 0, even[p], column_sums[p][0]);
            add(p, 1, odd[p], column_sums[p][1]);
          } else {
            const B both = I::add(even[p], odd[p]);
            add(p, 0, kUnit == 32 ? both : I::sum_neighbours(both), column_sums[p][0]);
          }
        }
      }
    }
  };
  const int64_t full = view.in % kQuantStep == 0 ? steps : steps - 1;
  for (int64_t step = 0; step < full; ++step) do_step(step, Flag<false>{});
  if (full < steps) do_step(full, Flag<true>{});

#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if constexpr (kUnit == 0) {
      const Halves h = sum_pairs(whole[r][0], whole[r][1], whole[r][2], whole[r][3]);
      const int32_t sum = reinterpret_cast<const int32_t*>(x[r].sums)[0];
      const B exact = I::add(I::sum_lanes(I::add(h.even, h.odd)), I::set1(-I::kOffset8 * sum));
      const F scale =
          V::mul(I::four(w.scales[0][0], w.scales[1][0], w.scales[2][0], w.scales[3][0]),
                 V::set1(x[r].scales[0]));
      _mm_storeu_ps(y[r], I::first_four(V::mul(scale, I::to_float(exact))));
    } else if constexpr (kUnit == kQuantStep) {
      _mm_storeu_ps(y[r], I::first_four(total[r][0]));
    } else {
      _mm_storeu_ps(y[r], I::template sum_chains<kUnit>(total[r]));
    }
  }
}

// R rows from r on against four weight rows.
template <class Codes, int kUnit, int R>
static void four_some(const MatmulArgs& a, const QuantLayout& q, const FourRows<Codes>& w,
                      int32_t r, const Spread& rows, int64_t count) {
  if constexpr (R > 1) {
    if (a.rows - r < R) return four_some<Codes, kUnit, R - 1>(a, q, w, r, rows, count);
  }
  QuantRow x[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    x[i] = QuantRow::at(q, a.x, a.x_stride, a.index ? a.index[r + i] : r + i);
  }
  float y[R][4];
  dot_four<Codes, kUnit, R>(a.w, w, x, y);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    for (int64_t j = 0; j < count; ++j) a.y[(r + i) * a.y_stride + rows.row(j)] = y[i][j];
  }
}

#include "kernels/cpu/integer_panel.inl"
#include "kernels/cpu/quantize.inl"

template <class Codes, int kUnit>
static void integer_units(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  const QuantLayout q = quant_layout(a.w);
  // Sums of narrow units need more registers.
  constexpr int kLaneRows = kUnit == 0 || kUnit == kQuantStep ? I::kLaneRows : 2;
  if (a.rows <= (Codes::kNibbles ? I::kFewRows4 : I::kFewRows)) {
    const auto some = [&](const Spread& rows, int64_t count) {
      const FourRows<Codes> w(a.w, rows, count);
      for (int32_t r = 0; r < a.rows; r += kLaneRows) {
        four_some<Codes, kUnit, kLaneRows>(a, q, w, r, rows, count);
      }
    };
    for_each_four(begin, end, a.w.row_bytes(), [&](const Spread& rows) { some(rows, 4); }, some);
    return;
  }
  const int64_t steps = quant_steps(q);
  IntegerPanel panel{};
  panel.codes = static_cast<uint8_t*>(scratch);
  auto* after = panel.codes + steps * 32 * kPlaceVectors<Codes> * I::kBytes;
  const int64_t numbers = quant_units(q) * kPanelRows;
  const auto take = [&]<class T>(T*& place) {
    place = reinterpret_cast<T*>(after);
    after += numbers * 4;
  };
  take(panel.scales);
  if (Codes::kFormat == WeightFormat::kI4 && a.w.zero) take(panel.zeros);
  if (kSplit<Codes>) take(panel.offsets);
  for (int64_t n = begin; n < end; n += kPanelRows) {
    const int64_t count = end - n < kPanelRows ? end - n : kPanelRows;
    if (kSplit<Codes>) __builtin_memset(panel.offsets, 0, static_cast<size_t>(numbers) * 4);
    pack_codes<Codes, kUnit>(a.w, n, count, panel);
    pack_scales<Codes, kUnit>(a.w, n, count, panel);
    PanelAhead ahead(a.w, n + count, end, (a.rows + I::kPanelTileRows - 1) / I::kPanelTileRows);
    for (int32_t r = 0; r < a.rows; r += I::kPanelTileRows) {
      ahead.fetch_share();
      panel_some<Codes, kUnit, I::kPanelTileRows>(a, q, panel, r, n, count);
    }
  }
}

template <class Codes>
static void integer_matmul(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  switch (quant_layout(a.w).unit) {
    case 0:
      if constexpr (!Codes::kNibbles) integer_units<Codes, 0>(a, begin, end, scratch);
      return;
    case 16:
      return integer_units<Codes, 16>(a, begin, end, scratch);
    case 32:
      if constexpr (Codes::kFormat != WeightFormat::kFp4) {
        integer_units<Codes, 32>(a, begin, end, scratch);
      }
      return;
    case 64:
      if constexpr (Codes::kFormat != WeightFormat::kFp4) {
        integer_units<Codes, 64>(a, begin, end, scratch);
      }
      return;
    default:
      if constexpr (Codes::kFormat != WeightFormat::kFp4) {
        integer_units<Codes, kQuantStep>(a, begin, end, scratch);
      }
  }
}

static void add_integer_kernels(Ops& ops) {
  ops.matmul[static_cast<int>(WeightFormat::kI8)] = {ActivationFormat::kI8,
                                                     integer_matmul<I8Codes>};
  ops.matmul[static_cast<int>(WeightFormat::kI4)] = {ActivationFormat::kI8,
                                                     integer_matmul<I4Codes>};
  ops.matmul[static_cast<int>(WeightFormat::kFp4)] = {ActivationFormat::kI8,
                                                      integer_matmul<Fp4Codes>};
  ops.quantize = quantize;
}
