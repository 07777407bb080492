// Part of kernels.inl: FP32 products with weights in any format.
//
// Lanes lie along K: a tile of R activation rows x W weight rows holds R * W accumulators, walks K
// once and reduces the lanes at the end, in one order for every tile shape. So a row's bits are the
// same for one row and for a thousand.

// Of formats whose codes need no watching (see F8 of avx2.cc).
struct NoWatch {
  bool alarm() const { return false; }
};

// acc[r][j] += x[r] . w[j] over columns [k, stop) of one block of scales.
template <int R, int W, class Loader>
__attribute__((always_inline)) static inline void add_columns(const Loader& load,
                                                              const float* const (&x)[R],
                                                              int32_t k, int32_t stop,
                                                              int32_t k_block, F (&acc)[R][W],
                                                              typename Loader::Watch& watch) {
  if constexpr (Loader::kTogether > 1) {
    constexpr int kColumns = Loader::kTogether * V::kLanes;
    for (; k + kColumns <= stop; k += kColumns) {
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        F w[Loader::kTogether];
        load.together(j, k, w, watch);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
          for (int i = 0; i < Loader::kTogether; ++i) {
            acc[r][j] = V::fma(V::load(x[r] + k + i * V::kLanes), w[i], acc[r][j]);
          }
        }
      }
    }
  }
  for (; k + V::kLanes <= stop; k += V::kLanes) {
    F v[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) v[r] = V::load(x[r] + k);
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
      const F w = load.full(j, k, k_block);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[r][j] = V::fma(v[r], w, acc[r][j]);
    }
  }
  if (k < stop) {
    const int n = stop - k;
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
      const F w = load.part(j, k, n, k_block);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[r][j] = V::fma(V::load_n(x[r] + k, n), w, acc[r][j]);
    }
  }
}

// Whether one block of scales spans all columns, or none has any: then sums need their scale only
// at the end.
template <class Loader>
static bool one_block(const Loader& load, int32_t k_end) {
  return load.block >= k_end;
}

template <class Loader>
static float last_sum(const Loader& load, int j, bool one, F total) {
  if (Loader::kScaled && one) total = V::fma(V::set1(load.scale(j, 0)), total, V::zero());
  return V::sum(total) * Loader::kUnit;
}

// Sums of x[r] . w[j] over K. The outputs of neighbouring w[j] stand y_apart from each other.
template <int R, int W, class Loader>
static void dot_tile(const Loader& load, const float* const (&x)[R], int32_t k_end, float* y,
                     int64_t y_stride, int64_t y_apart) {
  F total[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) total[r][j] = V::zero();
  }
  const bool one = one_block(load, k_end);
  typename Loader::Watch watch;
  if (!Loader::kScaled || one) {
    add_columns<R, W>(load, x, 0, k_end, 0, total, watch);
  } else {
    int32_t k_block = 0;
    for (int32_t k = 0; k < k_end; k += load.block, ++k_block) {
      F acc[R][W];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) acc[r][j] = V::zero();
      }
      const int32_t stop = k_end - k < load.block ? k_end : k + load.block;
      add_columns<R, W>(load, x, k, stop, k_block, acc, watch);
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        const F scale = V::set1(load.scale(j, k_block));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) total[r][j] = V::fma(scale, acc[r][j], total[r][j]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) {
      y[r * y_stride + j * y_apart] = last_sum(load, j, one, total[r][j]);
    }
  }
  if (!watch.alarm()) return;
  for (int j = 0; j < W; ++j) {
    if (!load.has_nan(j, k_end)) continue;
    for (int r = 0; r < R; ++r) y[r * y_stride + j * y_apart] = __builtin_nanf("");
  }
}

// Rows of activations: all of them, or those an index names.
struct Rows {
  const float* x;
  int64_t stride;
  const int32_t* index;
  int32_t count;
  const float* at(int32_t r) const { return x + int64_t{index ? index[r] : r} * stride; }
};

// R rows from r on; fewer when fewer are left.
template <int R, int W, class Loader>
static void dot_some(const Loader& load, const Rows& rows, int32_t r, int32_t k, float* y,
                     int64_t y_stride, int64_t y_apart = 1) {
  if constexpr (R > 1) {
    if (rows.count - r < R) return dot_some<R - 1, W>(load, rows, r, k, y, y_stride, y_apart);
  }
  const float* x[R];
  for (int i = 0; i < R; ++i) x[i] = rows.at(r + i);
  dot_tile<R, W>(load, x, k, y + r * y_stride, y_stride, y_apart);
}

// Many rows: columns are taken in pieces, so that a piece of kMatmulPanelRows weight rows stays in L1
// while a block of input rows passes by. The sums of a block wait in memory between two pieces,
// which changes nothing in their order.
constexpr int32_t kPiece = 256;  // columns; a multiple of common blocks of scales
constexpr int32_t kRowBlock = (16 + kTileRows - 1) / kTileRows * kTileRows;

struct Sums {
  alignas(64) float of[kRowBlock][kMatmulPanelRows][V::kLanes];
};

// A function of its own, or gcc moves the sums through the stack. With scales per block there are no
// registers for the sums of a block and those before it: the latter stay in memory.
template <int R, int W, class Loader>
__attribute__((noinline)) static void add_piece(const Loader& load, const float* const (&x)[R],
                                                int32_t k, int32_t stop, bool one, Sums& sums,
                                                int32_t r0, int32_t j0) {
  F acc[R][W];
  NoWatch watch;  // a piece has no end at which an alarm could be looked into
  if (!Loader::kScaled || one) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        acc[r][j] = k == 0 ? V::zero() : V::load(sums.of[r0 + r][j0 + j]);
      }
    }
    add_columns<R, W>(load, x, k, stop, 0, acc, watch);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) V::store(sums.of[r0 + r][j0 + j], acc[r][j]);
    }
    return;
  }
  for (int32_t k_block = k / load.block; k < stop; ++k_block, k += load.block) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) acc[r][j] = V::zero();
    }
    add_columns<R, W>(load, x, k, k + load.block < stop ? k + load.block : stop, k_block, acc,
                      watch);
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
      const F scale = V::set1(load.scale(j, k_block));
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        float* sum = sums.of[r0 + r][j0 + j];
        V::store(sum, V::fma(scale, acc[r][j], k == 0 ? V::zero() : V::load(sum)));
      }
    }
  }
}

template <int R, int W, class Loader>
static void piece_some(const Loader& load, const Rows& rows, int32_t r, int32_t left, int32_t k,
                       int32_t stop, bool one, Sums& sums, int32_t r0, int32_t j0) {
  if constexpr (R > 1) {
    if (left < R) {
      return piece_some<R - 1, W>(load, rows, r, left, k, stop, one, sums, r0, j0);
    }
  }
  const float* x[R];
  for (int i = 0; i < R; ++i) x[i] = rows.at(r + i);
  add_piece<R, W>(load, x, k, stop, one, sums, r0, j0);
}

template <class Loader>
static void product_in_pieces(const Loader& weights, int32_t count, const Rows& rows,
                              int32_t k_end, float* y, int64_t y_stride) {
  static_assert(kMatmulPanelRows == 4 * kTileWeights);
  const Loader tiles[4] = {weights, weights.from(kTileWeights), weights.from(2 * kTileWeights),
                           weights.from(3 * kTileWeights)};
  const bool one = one_block(weights, k_end);
  Sums sums;
  for (int32_t first = 0; first < rows.count; first += kRowBlock) {
    const int32_t some = rows.count - first < kRowBlock ? rows.count - first : kRowBlock;
    for (int32_t k = 0; k < k_end; k += kPiece) {
      const int32_t stop = k_end - k < kPiece ? k_end : k + kPiece;
      for (int32_t r = 0; r < some; r += kTileRows) {
        int32_t j = 0;
        for (; j + kTileWeights <= count; j += kTileWeights) {
          piece_some<kTileRows, kTileWeights>(tiles[j / kTileWeights], rows, first + r, some - r, k,
                                              stop, one, sums, r, j);
        }
        for (; j < count; ++j) {
          piece_some<kTileRows, 1>(weights.from(j), rows, first + r, some - r, k, stop, one, sums,
                                   r, j);
        }
      }
    }
    for (int32_t j = 0; j < count; ++j) {
      const Loader& load = tiles[j / kTileWeights];
      for (int32_t r = 0; r < some; ++r) {
        y[(first + r) * y_stride + j] =
            last_sum(load, j % kTileWeights, one, V::load(sums.of[r][j]));
      }
    }
  }
}

// y[r, j] for all rows and `count` weight rows, each row of weights in one go.
template <class Loader>
static void product_by_tiles(const Loader& weights, int32_t count, const Rows& rows, int32_t k,
                             float* y, int64_t y_stride) {
  for (int32_t r = 0; r < rows.count; r += kTileRows) {
    int32_t j = 0;
    for (; j + kTileWeights <= count; j += kTileWeights) {
      dot_some<kTileRows, kTileWeights>(weights.from(j), rows, r, k, y + j, y_stride);
    }
    for (; j < count; ++j) dot_some<kTileRows, 1>(weights.from(j), rows, r, k, y + j, y_stride);
  }
}

// The same, by pieces where that pays.
template <class Loader>
static void product(const Loader& weights, int32_t count, const Rows& rows, int32_t k, float* y,
                    int64_t y_stride) {
  const bool whole_blocks = one_block(weights, k) || kPiece % weights.block == 0;
  if (rows.count > kTileRows && whole_blocks) {
    for (int32_t j = 0; j < count; j += kMatmulPanelRows) {
      const int32_t some = count - j < kMatmulPanelRows ? count - j : kMatmulPanelRows;
      product_in_pieces(weights.from(j), some, rows, k, y + j, y_stride);
    }
    return;
  }
  product_by_tiles(weights, count, rows, k, y, y_stride);
}

// Unpacked weight rows in scratch: FP32 in units of 1 / kUnit and in the order in which the format
// unpacks, its scales still apart.
template <class Raw>
struct Panel {
  static constexpr bool kScaled = Raw::kScaled;
  static constexpr float kUnit = Raw::kUnit;
  static constexpr int kTogether = 1;
  using Watch = NoWatch;
  Raw raw;
  const float* rows;
  int64_t stride;
  int32_t block;
  Panel from(int32_t j) const { return {raw.from(j), rows + j * stride, stride, block}; }
  F full(int j, int32_t k, int32_t) const { return V::load(rows + j * stride + k); }
  F part(int j, int32_t k, int n, int32_t) const { return V::load_n(rows + j * stride + k, n); }
  float scale(int j, int32_t k_block) const { return raw.scale(j, k_block); }
  bool has_nan(int, int32_t) const { return false; }
};

template <class Raw>
static Panel<Raw> unpack(const Raw& raw, int32_t count, int32_t in, float* rows) {
  // Rows a power of two apart would share the sets of L1: one line more.
  const int64_t stride = (in + V::kLanes - 1) / V::kLanes * V::kLanes + 16;
  for (int j = 0; j < count; ++j) {
    const Raw from = raw.from(j);
    float* row = rows + j * stride;
    int32_t block = 0;
    typename Raw::Watch watch;
    for (int32_t k = 0; k < in; ++block) {
      const int32_t stop = in - k < raw.block ? in : k + raw.block;
      if constexpr (Raw::kTogether > 1) {
        for (; k + Raw::kTogether * V::kLanes <= stop; k += Raw::kTogether * V::kLanes) {
          from.prefetch(k);
          F w[Raw::kTogether];
          from.together(0, k, w, watch);
          for (int i = 0; i < Raw::kTogether; ++i) V::store(row + k + i * V::kLanes, w[i]);
        }
      }
      for (; k + V::kLanes <= stop; k += V::kLanes) {
        from.prefetch(k);
        V::store(row + k, from.full(0, k, block));
      }
      if (k < stop) V::store_n(row + k, stop - k, from.part(0, k, stop - k, block));
      k = stop;
    }
    if (watch.alarm() && from.has_nan(0, in)) row[0] = __builtin_nanf("");
  }
  return {raw, rows, stride, raw.block};
}

// Never inlined: what a caller sets up (matmul_f8 of avx2.cc) holds for all of it.
template <class Raw>
__attribute__((noinline)) static void matmul(const MatmulArgs& a, int64_t begin, int64_t end,
                                             void* scratch) {
  const Rows x{static_cast<const float*>(a.x), a.x_stride, a.index, a.rows};
  if (a.rows <= kTileRows) {
    for_each_four(
        begin, end, a.w.row_bytes(),
        [&](const Spread& rows) {
          dot_some<kTileRows, kTileWeights>(Raw(a.w, rows), x, 0, a.w.in, a.y + rows.first,
                                            a.y_stride, rows.apart);
        },
        [&](const Spread& rows, int64_t count) {
          product_by_tiles(Raw(a.w, rows), static_cast<int32_t>(count), x, a.w.in,
                           a.y + rows.first, a.y_stride);
        });
    return;
  }
  for (int64_t n = begin; n < end; n += kMatmulPanelRows) {
    const int32_t count =
        static_cast<int32_t>(end - n < kMatmulPanelRows ? end - n : kMatmulPanelRows);
    const Raw raw(a.w, Spread{n, 1});
    if constexpr (Raw::kPacked) {
      const auto panel = unpack(raw, count, a.w.in, static_cast<float*>(scratch));
      product(panel, count, x, a.w.in, a.y + n, a.y_stride);
    } else {
      product(raw, count, x, a.w.in, a.y + n, a.y_stride);
    }
  }
}

// Weight rows that are plain FP32 in memory.
struct F32Rows {
  static constexpr bool kScaled = false;
  static constexpr float kUnit = 1;
  static constexpr int kTogether = 1;  // vectors that are widened in one go
  using Watch = NoWatch;
  static constexpr bool kPacked = false;
  const float* data;
  int64_t stride;
  int32_t block = 0x7fffffff / 2;
  F32Rows(const MatrixView& w, const Spread& rows)
      : data(static_cast<const float*>(w.data) + rows.first * w.in), stride(rows.apart * w.in) {}
  F32Rows(const float* rows, int64_t row_stride) : data(rows), stride(row_stride) {}
  F32Rows from(int32_t j) const { return {data + j * stride, stride}; }
  F full(int j, int32_t k, int32_t) const { return V::load(data + j * stride + k); }
  F part(int j, int32_t k, int n, int32_t) const { return V::load_n(data + j * stride + k, n); }
  float scale(int, int32_t) const { return 1; }
  bool has_nan(int, int32_t) const { return false; }
};

// BF16 or FP16: Convert widens one vector.
template <class Convert>
struct HalfRows {
  static constexpr bool kScaled = false;
  static constexpr float kUnit = 1;
  static constexpr int kTogether = 1;
  using Watch = NoWatch;
  static constexpr bool kPacked = true;
  const uint16_t* data;
  int64_t stride;
  int32_t block = 0x7fffffff / 2;
  HalfRows(const MatrixView& w, const Spread& rows)
      : data(static_cast<const uint16_t*>(w.data) + rows.first * w.in), stride(rows.apart * w.in) {}
  HalfRows(const uint16_t* rows, int64_t row_stride) : data(rows), stride(row_stride) {}
  HalfRows from(int32_t j) const { return {data + j * stride, stride}; }
  F full(int j, int32_t k, int32_t) const { return Convert::full(data + j * stride + k); }
  F part(int j, int32_t k, int n, int32_t) const { return Convert::part(data + j * stride + k, n); }
  void prefetch(int32_t k) const { __builtin_prefetch(data + k + 512); }
  float scale(int, int32_t) const { return 1; }
  bool has_nan(int, int32_t) const { return false; }
};

// Codes with one scale per block; a block's partial sum is multiplied once. Decode gives the codes
// of a row as numbers.
template <class Decode>
struct CodedRows {
  static constexpr bool kScaled = true;
  static constexpr bool kF8 = Decode::kFormat == WeightFormat::kF8;
  static constexpr float kUnit = kF8 ? F8::kUnit : 1;  // what a sum is multiplied by at its end
  static constexpr int kTogether = kF8 ? F8::kTogether : 1;
  using Watch = typename Decode::Watch;
  static constexpr bool kPacked = true;
  const MatrixView& w;
  Spread rows;
  const uint8_t* codes;
  int64_t stride;
  const float* scales[kTileWeights];  // of the rows of one tile, for block 0 of K
  const float* zeros[kTileWeights];   // kI4
  int32_t block;
  CodedRows(const MatrixView& matrix, const Spread& spread)
      : w(matrix),
        rows(spread),
        codes(static_cast<const uint8_t*>(w.data) + rows.first * w.row_bytes()),
        stride(rows.apart * w.row_bytes()),
        block(w.format == WeightFormat::kFp4 ? 16 : w.block_in) {
    for (int j = 0; j < kTileWeights && w.scale != nullptr; ++j) {
      const int64_t at = rows.row(j) / w.block_out * w.scale_stride;
      scales[j] = w.scale + at;
      zeros[j] = w.zero ? w.zero + at : nullptr;
    }
  }
  CodedRows from(int32_t j) const { return {w, rows.from(j)}; }
  F full(int j, int32_t k, int32_t b) const {
    return Decode::full(codes + j * stride, k, zero(j, b));
  }
  F part(int j, int32_t k, int n, int32_t b) const {
    return Decode::part(codes + j * stride, k, n, zero(j, b));
  }
  void together(int j, int32_t k, F (&w)[kTogether], Watch& watch) const {
    F8::together(codes + j * stride + k, w, watch);
  }
  bool has_nan(int j, int32_t k_end) const {
    bool found = false;
    for (int32_t k = 0; k < k_end; ++k) found |= (codes[j * stride + k] & 0x7f) == 0x7f;
    return found;
  }
  void prefetch(int32_t k) const { __builtin_prefetch(codes + k + 1024); }
  float zero(int j, int32_t b) const {
    return Decode::kFormat == WeightFormat::kI4 && w.zero ? zeros[j][b] : 8.0f;
  }
  float scale(int j, int32_t b) const {
    if constexpr (Decode::kFormat == WeightFormat::kFp4) {
      const uint8_t code = w.scale8[rows.row(j) * ((w.in + 15) / 16) + b];
      return V::first(f8_part(&code, 1)) * (0.5f * w.global_scale);
    }
    return scales[j][b];
  }
};

struct F8Decode {
  static constexpr WeightFormat kFormat = WeightFormat::kF8;
  using Watch = F8::Watch;
  static F full(const uint8_t* row, int32_t k, float) { return F8::full(row + k); }
  static F part(const uint8_t* row, int32_t k, int n, float) { return F8::part(row + k, n); }
};

struct I8Decode {
  static constexpr WeightFormat kFormat = WeightFormat::kI8;
  using Watch = NoWatch;
  static F full(const uint8_t* row, int32_t k, float) { return V::from_i8(V::load_bytes(row + k)); }
  static F part(const uint8_t* row, int32_t k, int n, float) {
    alignas(16) uint8_t bytes[16] = {};
    for (int i = 0; i < n; ++i) bytes[i] = row[k + i];
    return V::from_i8(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
};

// Two codes in a byte, the even column's in the low half.
static __m128i some_nibbles(const uint8_t* row, int32_t k, int n) {
  alignas(16) uint8_t bytes[16] = {};
  for (int i = 0; i < n; ++i) bytes[i] = (row[(k + i) / 2] >> ((k + i) % 2 * 4)) & 15;
  return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
}
static __m128i all_nibbles(const uint8_t* row, int32_t k) {
  const __m128i pairs = V::load_half_bytes(row + k / 2);
  const __m128i low = _mm_and_si128(pairs, _mm_set1_epi8(15));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(pairs, 4), _mm_set1_epi8(15));
  return _mm_unpacklo_epi8(low, high);
}

struct I4Decode {
  static constexpr WeightFormat kFormat = WeightFormat::kI4;
  using Watch = NoWatch;
  static F full(const uint8_t* row, int32_t k, float zero) {
    return V::sub(V::from_i8(all_nibbles(row, k)), V::set1(zero));
  }
  static F part(const uint8_t* row, int32_t k, int n, float zero) {
    return V::sub(V::from_i8(some_nibbles(row, k, n)), V::set1(zero));
  }
};

// Twice the number.
struct Fp4Decode {
  static constexpr WeightFormat kFormat = WeightFormat::kFp4;
  using Watch = NoWatch;
  static F number(__m128i codes) {
    const __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return V::from_i8(_mm_shuffle_epi8(table, codes));
  }
  static F full(const uint8_t* row, int32_t k, float) { return number(all_nibbles(row, k)); }
  static F part(const uint8_t* row, int32_t k, int n, float) {
    return number(some_nibbles(row, k, n));
  }
};
