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

#include "kernels/cpu/running_scale.inl"

// The outputs of one input row and of neighbouring weight rows, `apart` from each other.
template <int W, class Loader>
static void last_sums(const F (&total)[W], const float* scale, float* y, int64_t apart) {
  float sums[W];
  if constexpr (W == 4) {
    V::sum4(total, sums);
  } else {
    for (int j = 0; j < W; ++j) sums[j] = V::sum(total[j]);
  }
  for (int j = 0; j < W; ++j) {
    y[j * apart] = Loader::kScaled ? sums[j] * scale[j] * Loader::kUnit : sums[j];
  }
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
  typename Loader::Watch watch;
  float scale[4] = {};
  if constexpr (Loader::kScaled) {
    RunningScale<W> running;
    int32_t k_block = 0;
    for (int32_t k = 0; k < k_end; k += load.block, ++k_block) {
      _mm_storeu_ps(scale, running.next(load, k_block));
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        const F factor = V::set1(scale[j]);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) total[r][j] = V::mul(total[r][j], factor);
      }
      const int32_t stop = k_end - k < load.block ? k_end : k + load.block;
      add_columns<R, W>(load, x, k, stop, k_block, total, watch);
    }
    _mm_storeu_ps(scale, running.current);
  } else {
    add_columns<R, W>(load, x, 0, k_end, 0, total, watch);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) last_sums<W, Loader>(total[r], scale, y + r * y_stride, y_apart);
  if (!watch.alarm()) return;
  for (int j = 0; j < W; ++j) {
    if (!load.has_nan(j, 0, k_end)) continue;
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
  Rows from(int32_t r, int32_t n) const {
    return {index ? x : at(r), stride, index ? index + r : nullptr, n};
  }
};

// R rows from r on; fewer when fewer are left.
template <int R, int W, class Loader>
static void dot_some(const Loader& load, const Rows& rows, int32_t r, int32_t k, float* y,
                     int64_t y_stride, int64_t y_apart) {
  if constexpr (R > 1) {
    if (rows.count - r < R) return dot_some<R - 1, W>(load, rows, r, k, y, y_stride, y_apart);
  }
  const float* x[R];
  for (int i = 0; i < R; ++i) x[i] = rows.at(r + i);
  dot_tile<R, W>(load, x, k, y + r * y_stride, y_stride, y_apart);
}

// Many rows: a block of input rows is copied piece by piece (rows of the model are powers of two
// apart and would share sets of L1), a group of weight rows is unpacked a piece at a time, and the
// block passes by: a few input rows stay in L1 while the group comes from L2. The sums of a block
// wait in memory between two pieces, which changes nothing in their order.
constexpr int32_t kPiece = 512;       // columns
constexpr int32_t kPieceBlocks = 32;  // of scales, at most
constexpr int32_t kGroup = 2 * kMatmulPanelRows;
constexpr int32_t kInnerRows = kTileRows < 6 ? 6 / kTileRows * kTileRows : kTileRows;
constexpr int32_t kRowBlock = kMatmulRowBlock / kInnerRows * kInnerRows;

struct Sums {
  alignas(64) float of[kRowBlock][kGroup][V::kLanes];
};

// A function of its own, or gcc moves the sums through the stack.
template <int R, int W, class Loader>
__attribute__((noinline)) static void add_piece(const Loader& load, const float* const (&x)[R],
                                                int32_t k, int32_t stop, Sums& sums, int32_t r0,
                                                int32_t j0) {
  F acc[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
      acc[r][j] = k == 0 ? V::zero() : V::load(sums.of[r0 + r][j0 + j]);
    }
  }
  NoWatch watch;  // unpack() has watched
  if constexpr (Loader::kScaled) {
    for (int32_t k_block = k / load.block; k < stop; ++k_block) {
      if (k % load.block == 0) {
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) {
          const F factor = V::set1(load.factor(j, k_block));
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) acc[r][j] = V::mul(acc[r][j], factor);
        }
      }
      const int32_t end = stop - k < load.block ? stop : k + load.block;
      add_columns<R, W>(load, x, k, end, k_block, acc, watch);
      k = end;
    }
  } else {
    add_columns<R, W>(load, x, k, stop, 0, acc, watch);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) V::store(sums.of[r0 + r][j0 + j], acc[r][j]);
  }
}

// R rows from r on, or the fewer that are left.
template <int R, int W, class Loader>
static void piece_some(const Loader& load, const Rows& rows, int32_t r, int32_t k, int32_t stop,
                       Sums& sums, int32_t j0) {
  if constexpr (R > 1) {
    if (rows.count - r < R) return piece_some<R - 1, W>(load, rows, r, k, stop, sums, j0);
  }
  const float* x[R];
  for (int i = 0; i < R; ++i) x[i] = rows.at(r + i);
  add_piece<R, W>(load, x, k, stop, sums, r, j0);
}

// y[r, j] for all rows and `count` weight rows, each row of weights in one go. Outputs of
// neighbouring weight rows stand y_apart from each other.
template <class Loader>
static void product_by_tiles(const Loader& weights, int32_t count, const Rows& rows, int32_t k,
                             float* y, int64_t y_stride, int64_t y_apart) {
  int32_t j = 0;
  for (; j + kTileWeights <= count; j += kTileWeights) {
    const Loader four = weights.from(j);
    for (int32_t r = 0; r < rows.count; r += kTileRows) {
      dot_some<kTileRows, kTileWeights>(four, rows, r, k, y + j * y_apart, y_stride, y_apart);
    }
  }
  for (; j < count; ++j) {
    for (int32_t r = 0; r < rows.count; r += kTileRows) {
      dot_some<kTileRows, 1>(weights.from(j), rows, r, k, y + j * y_apart, y_stride, y_apart);
    }
  }
}

// Of a group's weight rows: what sums are multiplied by where a block of the piece begins, and the
// scales of the last block that was unpacked (RunningScale).
struct GroupScales {
  float factor[kPieceBlocks][kGroup];
  float current[kGroup];
};

// A piece of weight rows unpacked: FP32 in units of 1 / Raw::kUnit and in the order in which the
// format unpacks, its scales still apart.
template <class Raw>
struct Piece {
  static constexpr bool kScaled = Raw::kScaled;
  static constexpr int kTogether = 1;
  using Watch = NoWatch;
  const float* rows;
  int64_t stride;
  int32_t first;  // column
  int32_t block;
  const float* factors;  // GroupScales::factor of the first block and row
  Piece from(int32_t j) const { return {rows + j * stride, stride, first, block, factors + j}; }
  F full(int j, int32_t k, int32_t) const { return V::load(rows + j * stride + (k - first)); }
  F part(int j, int32_t k, int n, int32_t) const {
    return V::load_n(rows + j * stride + (k - first), n);
  }
  float factor(int j, int32_t k_block) const {
    return factors[(k_block - first / block) * kGroup + j];
  }
};

template <class Raw>
static void next_scales(const Raw& raw, int32_t count, int32_t first, int32_t stop,
                        GroupScales& scales) {
  if (first % raw.block != 0) return;  // still in the only block
  for (int32_t j = 0; j < count; ++j) {
    const Raw from = raw.from(j);
    RunningScale<1> running;
    if (first > 0) running.current = _mm_set1_ps(scales.current[j]);
    const int32_t first_block = first / raw.block;
    for (int32_t b = first_block; b * raw.block < stop; ++b) {
      scales.factor[b - first_block][j] = _mm_cvtss_f32(running.next(from, b));
    }
    scales.current[j] = _mm_cvtss_f32(running.current);
  }
}

// Columns [first, stop) of `count` rows, whole blocks of scales or a part of the only one.
template <class Raw>
static Piece<Raw> unpack(const Raw& raw, int32_t count, int32_t first, int32_t stop, float* rows,
                         GroupScales& scales) {
  // Rows a power of two apart would share the sets of L1: one line more.
  const int64_t stride = (stop - first + V::kLanes - 1) / V::kLanes * V::kLanes + 16;
  for (int j = 0; j < count; ++j) {
    const Raw from = raw.from(j);
    float* row = rows + j * stride - first;
    typename Raw::Watch watch;
    for (int32_t k = first; k < stop;) {
      const int32_t block = k / raw.block;
      const int32_t end = stop - k < raw.block ? stop : k + raw.block;
      if constexpr (Raw::kTogether > 1) {
        for (; k + Raw::kTogether * V::kLanes <= end; k += Raw::kTogether * V::kLanes) {
          from.prefetch(k);
          F w[Raw::kTogether];
          from.together(0, k, w, watch);
          for (int i = 0; i < Raw::kTogether; ++i) V::store(row + k + i * V::kLanes, w[i]);
        }
      }
      for (; k + V::kLanes <= end; k += V::kLanes) {
        from.prefetch(k);
        V::store(row + k, from.full(0, k, block));
      }
      if (k < end) V::store_n(row + k, end - k, from.part(0, k, end - k, block));
      k = end;
    }
    if (watch.alarm() && from.has_nan(0, first, stop)) row[first] = __builtin_nanf("");
  }
  if constexpr (Raw::kScaled) next_scales(raw, count, first, stop, scales);
  return {rows, stride, first, raw.block, scales.factor[0]};
}

// Columns that are worked through at a time: whole blocks of scales, however large.
static int32_t piece_length(int32_t block, int32_t k_end) {
  if (block >= k_end) return kPiece;
  const int32_t blocks = kPiece / block < kPieceBlocks ? kPiece / block : kPieceBlocks;
  return blocks > 1 ? blocks * block : block;
}

// A block of rows, piece after piece.
static void copy_pieces(const Rows& rows, int32_t k_end, int32_t piece, float* to) {
  for (int32_t r = 0; r < rows.count; ++r) {
    const float* from = rows.at(r);
    for (int32_t k = 0; k < k_end; k += piece) {
      const int32_t n = k_end - k < piece ? k_end - k : piece;
      __builtin_memcpy(to + int64_t{k} * rows.count + r * n, from + k, static_cast<size_t>(n) * 4);
    }
  }
}

// y[r, j] for a block of rows, copied by copy_pieces, and `count` weight rows, at most kGroup.
template <class Raw>
static void product_in_pieces(const Raw& weights, int32_t count, const float* copied, int32_t rows,
                              int32_t k_end, float* y, int64_t y_stride, float* unpacked,
                              Sums& sums) {
  const int32_t piece = piece_length(weights.block, k_end);
  GroupScales scales;
  for (int32_t k = 0; k < k_end; k += piece) {
    const int32_t n = k_end - k < piece ? k_end - k : piece;
    const Rows x{copied + int64_t{k} * rows - k, n, nullptr, rows};
    const auto add = [&](const auto& load) {
      for (int32_t inner = 0; inner < rows; inner += kInnerRows) {
        const int32_t inner_end = rows - inner < kInnerRows ? rows : inner + kInnerRows;
        int32_t j = 0;
        for (; j + kTileWeights <= count; j += kTileWeights) {
          const auto four = load.from(j);
          for (int32_t r = inner; r < inner_end; r += kTileRows) {
            piece_some<kTileRows, kTileWeights>(four, x, r, k, k + n, sums, j);
          }
        }
        for (; j < count; ++j) {
          for (int32_t r = inner; r < inner_end; r += kTileRows) {
            piece_some<kTileRows, 1>(load.from(j), x, r, k, k + n, sums, j);
          }
        }
      }
    };
    if constexpr (Raw::kPacked) {
      add(unpack(weights, count, k, k + n, unpacked, scales));
    } else {
      add(weights);
    }
  }
  for (int32_t r = 0; r < rows; ++r) {
    float* to = y + r * y_stride;
    int32_t j = 0;
    for (; j + 4 <= count; j += 4) {
      F four[4];
      for (int i = 0; i < 4; ++i) four[i] = V::load(sums.of[r][j + i]);
      last_sums<4, Raw>(four, scales.current + j, to + j, 1);
    }
    for (; j < count; ++j) {
      const F sum[1] = {V::load(sums.of[r][j])};
      last_sums<1, Raw>(sum, scales.current + j, to + j, 1);
    }
  }
}

// Never inlined: what a caller sets up (matmul_f8 of avx2.cc) holds for all of it.
template <class Raw>
__attribute__((noinline)) static void matmul(const MatmulArgs& a, int64_t begin, int64_t end,
                                             void* scratch) {
  const Rows x{static_cast<const float*>(a.x), a.x_stride, a.index, a.rows};
  if (a.rows <= kFloatFewRows) {
    for_each_four(
        begin, end, a.w.row_bytes(),
        [&](const Spread& rows) {
          product_by_tiles(Raw(a.w, rows), kTileWeights, x, a.w.in, a.y + rows.first, a.y_stride,
                           rows.apart);
        },
        [&](const Spread& rows, int64_t count) {
          product_by_tiles(Raw(a.w, rows), static_cast<int32_t>(count), x, a.w.in, a.y + rows.first,
                           a.y_stride, 1);
        });
    return;
  }
  auto* unpacked = static_cast<float*>(scratch);
  float* copied = unpacked + (2 * int64_t{a.w.in} + 64) * kMatmulPanelRows;
  auto& sums = *reinterpret_cast<Sums*>(copied + (int64_t{a.w.in} + 96) * kMatmulRowBlock);
  static_assert(sizeof(Sums) <= 1 << 20);
  const int32_t piece = piece_length(Raw(a.w, Spread{0, 1}).block, a.w.in);
  for (int32_t first = 0; first < a.rows; first += kRowBlock) {
    const int32_t some = a.rows - first < kRowBlock ? a.rows - first : kRowBlock;
    copy_pieces(x.from(first, some), a.w.in, piece, copied);
    for (int64_t n = begin; n < end; n += kGroup) {
      const int32_t count = static_cast<int32_t>(end - n < kGroup ? end - n : kGroup);
      product_in_pieces(Raw(a.w, Spread{n, 1}), count, copied, some, a.w.in,
                        a.y + first * a.y_stride + n, a.y_stride, unpacked, sums);
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
  bool has_nan(int, int32_t, int32_t) const { return false; }
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
  // In the next row, which is unpacked next.
  void prefetch(int32_t k) const { __builtin_prefetch(data + stride + k); }
  bool has_nan(int, int32_t, int32_t) const { return false; }
};

// Codes with one scale per block (RunningScale). Decode gives the codes of a row as numbers.
template <class Decode>
struct CodedRows {
  static constexpr bool kScaled = true;
  static constexpr bool kF8 = Decode::kFormat == WeightFormat::kF8;
  static constexpr float kUnit = kF8 ? F8::kUnit : 1;  // what a sum is multiplied by at its end
  static constexpr int kTogether = kF8 ? F8::kTogether : 1;
  static constexpr int kCodesPerByte = kF8 || Decode::kFormat == WeightFormat::kI8 ? 1 : 2;
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
  bool has_nan(int j, int32_t k, int32_t k_end) const {
    bool found = false;
    for (; k < k_end; ++k) found |= (codes[j * stride + k] & 0x7f) == 0x7f;
    return found;
  }
  void prefetch(int32_t k) const { __builtin_prefetch(codes + stride + k / kCodesPerByte); }
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
