// Part of integer.inl: many rows against weights unpacked with one weight row
// per lane.

// A panel of weights unpacked for many rows: kPanelVectors vectors of weight
// rows, one row per lane.
constexpr int kPanelRows = I::kPanelVectors * V::kLanes;
struct IntegerPanel {
  uint8_t* codes;    // [steps][32 places of 4 codes][kPanelRows][4]; kSplit: [2] magnitudes, signs
  float* scales;     // [units][kPanelRows]
  float* zeros;      // likewise; null: one for all
  int32_t* offsets;  // likewise; kSplit: what sums begin with
};

// Where a target multiplies unsigned by signed bytes and adds pairs with 16 bits, signed codes w
// are taken apart into |w| and a mask s of their signs, which turns the input instead:
// |w| (x ^ s) = |w| (-x - 1) = w x - |w| for negative w. So sums begin with that of |w| over them.
template <class Codes>
constexpr bool kSplit = !Codes::kNibbles && I::kSplitSigns;
template <class Codes>
constexpr int kPlaceVectors = (kSplit<Codes> ? 2 : 1) * I::kPanelVectors;

template <class Codes, int kUnit>
static void pack_codes(const MatrixView& w, int64_t n, int64_t count, const IntegerPanel& panel) {
  constexpr int kDwords = V::kLanes;  // rows and dwords of a square
  const int64_t steps = (int64_t{w.in} + kQuantStep - 1) / kQuantStep;
  const int64_t stored = Codes::kFormat == WeightFormat::kI4
                             ? w.row_bytes()
                             : (Codes::kNibbles ? (int64_t{w.in} + 1) / 2 : w.in);
#pragma GCC unroll 8
  for (int c = 0; c < I::kPanelVectors; ++c) {
    const auto put = [&](int64_t place, const B(&rows)[kDwords]) {
      B turned[kDwords];
      I::transpose(rows, turned);
      for (int i = 0; i < kDwords; ++i) {
        uint8_t* to = panel.codes + (place + i) * kPlaceVectors<Codes> * I::kBytes + c * I::kBytes;
        if constexpr (kSplit<Codes>) {
          const int64_t unit = kUnit == 0 ? 0 : (place + i) * 4 / (kUnit ? kUnit : 1);
          int32_t* offset = panel.offsets + unit * kPanelRows + c * V::kLanes;
          I::store(offset,
                   I::split(turned[i], to, to + I::kPanelVectors * I::kBytes, I::load(offset)));
        } else {
          I::store(to, turned[i]);
        }
      }
    };
    for (int64_t at = 0; at < steps * kStepBytes<Codes>; at += I::kBytes) {
      B raw[kDwords];
      for (int i = 0; i < kDwords; ++i) {
        const int64_t row = c * V::kLanes + i;
        const int64_t left = stored - at;
        const uint8_t* p = static_cast<const uint8_t*>(w.data) + (n + row) * w.row_bytes() + at;
        raw[i] = row >= count || left <= 0 ? I::zero()
                 : left >= I::kBytes       ? I::load(p)
                                           : I::load_n(p, static_cast<int>(left));
      }
      if constexpr (Codes::kNibbles) {
        B half[kDwords];
        const int64_t place = at / 64 * 32 + at % 64 / 4;
        for (int i = 0; i < kDwords; ++i) half[i] = Codes::prepare(I::low4(raw[i]));
        put(place, half);
        for (int i = 0; i < kDwords; ++i) half[i] = Codes::prepare(I::high4(raw[i]));
        put(place + 16, half);
      } else {
        for (B& v : raw) v = Codes::prepare(v);
        put(at / 4, raw);
      }
    }
  }
}

template <class Codes, int kUnit>
static void pack_scales(const MatrixView& w, int64_t n, int64_t count, const IntegerPanel& panel) {
  const int64_t units = kUnit == 0 ? 1 : (int64_t{w.in} + kUnit - 1) / (kUnit ? kUnit : 1);
  for (int64_t i = 0; i < kPanelRows; ++i) {
    const int64_t row = n + (i < count ? i : count - 1);
    if constexpr (Codes::kFormat == WeightFormat::kFp4) {
      const uint8_t* from = w.scale8 + row * units;
      const float factor = 0.5f * w.global_scale;
      for (int64_t u = 0; u < units; u += V::kLanes) {
        const int left = static_cast<int>(units - u < V::kLanes ? units - u : V::kLanes);
        float values[V::kLanes];
        V::store(values, V::mul(f8_part(from + u, left), V::set1(factor)));
        for (int j = 0; j < left; ++j) panel.scales[(u + j) * kPanelRows + i] = values[j];
      }
    } else {
      const int64_t block = row / w.block_out * w.scale_stride;
      for (int64_t u = 0; u < units; ++u) {
        const int64_t at = block + u * kUnit / w.block_in;
        panel.scales[u * kPanelRows + i] = w.scale[at];
        if (panel.zeros) panel.zeros[u * kPanelRows + i] = w.zero[at];
      }
    }
  }
}

// The weights of the panel that begins at row n, fetched to L2 in as many shares as there are tiles
// of input rows to compute before: memory would rest meanwhile.
class PanelAhead {
 public:
  PanelAhead(const MatrixView& w, int64_t n, int64_t end, int64_t shares)
      : next_(static_cast<const char*>(w.data) + n * w.row_bytes()) {
    constexpr int64_t kMostBytes = 256 << 10;  // the panel at hand must stay in L2
    const int64_t all = (end - n < kPanelRows ? end - n : kPanelRows) * w.row_bytes();
    const int64_t bytes = all < kMostBytes ? all : kMostBytes;
    end_ = next_ + bytes;
    share_ = (bytes / shares / kLine + 1) * kLine;
  }
  void fetch_share() {
    const char* stop = end_ - next_ < share_ ? end_ : next_ + share_;
    for (; next_ < stop; next_ += kLine) __builtin_prefetch(next_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* next_;
  const char* end_;
  int64_t share_;
};

// acc += places [first, first + count) of the panel.
template <class Codes, int R>
__attribute__((always_inline)) static inline void add_places(const uint8_t* panel,
                                                             const QuantRow (&x)[R], int first,
                                                             int count,
                                                             B (&acc)[R][I::kPanelVectors]) {
  constexpr int C = I::kPanelVectors;
  B sum[R][C];
  const int8_t* four[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    four[r] = x[r].codes + 4 * first;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sum[r][c] = acc[r][c];
  }
  const uint8_t* codes = panel + int64_t{first} * kPlaceVectors<Codes> * I::kBytes;
#pragma GCC unroll I::kPlacesTogether
  for (int i = 0; i < count; ++i, codes += kPlaceVectors<Codes> * I::kBytes) {
    B v[kPlaceVectors<Codes>];
#pragma GCC unroll 8
    for (int c = 0; c < kPlaceVectors<Codes>; ++c) v[c] = I::load(codes + c * I::kBytes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const B same = I::broadcast4(four[r] + 4 * i);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        if constexpr (kSplit<Codes>) {
          sum[r][c] = I::dot8_split(sum[r][c], v[c], v[C + c], same);
        } else {
          sum[r][c] = dot<Codes>(sum[r][c], v[c], same);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = sum[r][c];
  }
}

// What a unit's sums begin with.
template <class Codes, int R>
static void begin_sums(const IntegerPanel& panel, int64_t unit, B (&sum)[R][I::kPanelVectors]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < I::kPanelVectors; ++c) {
      sum[r][c] =
          kSplit<Codes> ? I::load(panel.offsets + unit * kPanelRows + c * V::kLanes) : I::zero();
    }
  }
}

// acc = the unit's places [first, first + count) and, for 4-bit codes, as many 16 places on. A call
// of its own: where the sums are variables of a larger function, gcc copies them to the stack again
// and again.
template <class Codes, int R>
__attribute__((noinline)) static void sum_places(const IntegerPanel& panel, int64_t unit,
                                                 const QuantRow (&x)[R], int first, int count,
                                                 B (&acc)[R][I::kPanelVectors]) {
  constexpr int C = I::kPanelVectors;
  B sum[R][C];
  begin_sums<Codes>(panel, unit, sum);
  add_places<Codes, R>(panel.codes, x, first, count, sum);
  if constexpr (Codes::kNibbles) add_places<Codes, R>(panel.codes, x, first + 16, count, sum);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = sum[r][c];
  }
}

// sum += N places, narrow (see I::dot4); fresh: sum = them.
template <class Codes, int R, int N, bool kFresh>
__attribute__((always_inline)) static inline void add_narrow(const uint8_t* panel,
                                                             const QuantRow (&x)[R], int first,
                                                             B (&sum)[R][I::kPanelVectors]) {
  constexpr int C = I::kPanelVectors;
  const uint8_t* codes = panel + int64_t{first} * C * I::kBytes;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    B v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) v[c] = I::load(codes + (i * C + c) * I::kBytes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const B same = I::broadcast4(x[r].codes + 4 * (first + i));
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        sum[r][c] = kFresh && i == 0 ? I::first_dot4(v[c], same) : I::dot4(sum[r][c], v[c], same);
      }
    }
  }
}

// Like sum_places, of kPlaces and as many 16 places on, for targets whose sums of 4-bit codes are
// narrow: widened after Codes::kRun places.
template <class Codes, int kPlaces, int R>
__attribute__((noinline)) static void sum_runs(const uint8_t* panel, const QuantRow (&x)[R],
                                               int first, B (&acc)[R][I::kPanelVectors]) {
  static_assert(Codes::kRun * 2 * Codes::kLargest * 127 <= 0x7fff);
  constexpr int C = I::kPanelVectors;
  constexpr bool kShort = kPlaces < Codes::kRun;  // both halves are one run
  constexpr int kHalves = kShort ? 1 : 2;
  constexpr int N = kShort ? kPlaces : Codes::kRun;
  B wide[R][C];
#pragma GCC unroll 8
  for (int half = 0; half < kHalves; ++half) {
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; place += N) {
      B sum[R][C];
      add_narrow<Codes, R, N, true>(panel, x, first + 16 * half + place, sum);
      if constexpr (kShort) add_narrow<Codes, R, N, false>(panel, x, first + 16, sum);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          const B more = I::widen(sum[r][c]);
          wide[r][c] = half == 0 && place == 0 ? more : I::add(wide[r][c], more);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = wide[r][c];
  }
}

// y[r, ...] of R rows and the whole panel.
template <class Codes, int kUnit, int R>
static void dot_panel(const MatrixView& w, const IntegerPanel& panel, const QuantRow (&x)[R],
                      F (&y)[R][I::kPanelVectors]) {
  constexpr int C = I::kPanelVectors;
  constexpr int kChains = kUnit == 0 ? 1 : kQuantStep / (kUnit < 32 ? 32 : kUnit);
  const int64_t steps = (int64_t{w.in} + kQuantStep - 1) / kQuantStep;
  if constexpr (kUnit == 0) {
    B acc[R][C];
    sum_places<Codes, R>(panel, 0, x, 0, static_cast<int>(steps) * 32, acc);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const B offset = I::set1(-I::kOffset8 * reinterpret_cast<const int32_t*>(x[r].sums)[0]);
      const F xs = V::set1(x[r].scales[0]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        const F scale = V::mul(V::load(panel.scales + c * V::kLanes), xs);
        y[r][c] = V::mul(scale, I::to_float(I::add(acc[r][c], offset)));
      }
    }
    return;
  }
  alignas(64) float totals[kChains][R][C][V::kLanes] = {};
  const int64_t units = (int64_t{w.in} + kUnit - 1) / (kUnit ? kUnit : 1);
  constexpr int kUnits = kQuantStep / (kUnit ? kUnit : 1);
  constexpr int kPlaces = Codes::kNibbles ? kUnit / 8 : kUnit / 4;
  for (int64_t u = 0; u < units; ++u) {
    const int64_t step = u / kUnits;
    const int in_step = static_cast<int>(u % kUnits);
    const int first = static_cast<int>(step) * 32 + in_step * kPlaces;
    B acc[R][C];
    if constexpr (Codes::kNibbles && I::kNarrow) {
      sum_runs<Codes, kPlaces, R>(panel.codes, x, first, acc);
    } else if constexpr (kUnit >= 64) {
      sum_places<Codes, R>(panel, u, x, first, kPlaces, acc);
    } else {
      begin_sums<Codes>(panel, u, acc);
      add_places<Codes, R>(panel.codes, x, first, kPlaces, acc);
      if constexpr (Codes::kNibbles) add_places<Codes, R>(panel.codes, x, first + 16, kPlaces, acc);
    }
    auto& chain = totals[in_step * kUnit / (kUnit < 32 ? 32 : kUnit)];
    constexpr float kZero = Codes::kFormat == WeightFormat::kI4   ? 8
                            : Codes::kFormat == WeightFormat::kI8 ? I::kOffset8
                                                                  : 12;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F xs = V::set1(x[r].scales[step]);
      const F sum = V::set1(x[r].sums[u]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        const int64_t at = u * kPanelRows + c * V::kLanes;
        const F zero = Codes::kFormat == WeightFormat::kI4 && panel.zeros
                           ? V::load(panel.zeros + at)
                           : V::set1(kZero);
        const F value = V::fma(V::sub(V::zero(), zero), sum, I::to_float(acc[r][c]));
        const F scale = V::mul(V::load(panel.scales + at), xs);
        V::store(chain[r][c], V::fma(scale, value, V::load(chain[r][c])));
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      F sum = V::load(totals[0][r][c]);
      if constexpr (kChains == 2) sum = V::add(sum, V::load(totals[1][r][c]));
      if constexpr (kChains == 4) {
        sum = V::add(V::add(sum, V::load(totals[2][r][c])),
                     V::add(V::load(totals[1][r][c]), V::load(totals[3][r][c])));
      }
      y[r][c] = sum;
    }
  }
}

template <class Codes, int kUnit, int R>
static void panel_some(const MatmulArgs& a, const QuantLayout& q, const IntegerPanel& panel,
                       int32_t r, int64_t n, int64_t count) {
  if constexpr (R > 1) {
    if (a.rows - r < R) return panel_some<Codes, kUnit, R - 1>(a, q, panel, r, n, count);
  }
  QuantRow x[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    x[i] = QuantRow::at(q, a.x, a.x_stride, a.index ? a.index[r + i] : r + i);
  }
  F y[R][I::kPanelVectors];
  dot_panel<Codes, kUnit, R>(a.w, panel, x, y);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    float* to = a.y + (r + i) * a.y_stride + n;
#pragma GCC unroll 8
    for (int c = 0; c < I::kPanelVectors; ++c) {
      const int64_t left = count - c * V::kLanes;
      if (left <= 0) break;
      V::store_n(to + c * V::kLanes, static_cast<int>(left < V::kLanes ? left : V::kLanes),
                 y[i][c]);
    }
  }
}
