// FP32 kernels of the SIMD targets, written once over a vector type V and compiled in each target's
// own namespace with its own flags. Include after V and the weight loaders are defined, and
// kernels/streams.h.
//
// Lanes lie along K: a tile of R activation rows x W weight rows holds R * W accumulators, walks K
// once and reduces the lanes at the end, in one order for every tile shape. So a row's bits are the
// same for one row and for a thousand.

// Everything here is static: a function of this file must never be shared between targets.

// Sums of x[r] . w[j] over K in blocks of `block` columns: plain formats have one block and no
// scale. The outputs of neighbouring w[j] stand y_apart from each other.
template <int R, int W, class Loader>
static void dot_tile(const Loader& load, const float* const (&x)[R], int32_t k_end, float* y,
                     int64_t y_stride, int64_t y_apart) {
  F total[R][W];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) total[r][j] = V::zero();
  }
  int32_t k_block = 0;
  for (int32_t k0 = 0; k0 < k_end; k0 += load.block, ++k_block) {
    const int32_t stop = k0 + load.block < k_end ? k0 + load.block : k_end;
    F acc[R][W];
    for (int r = 0; r < R; ++r) {
      for (int j = 0; j < W; ++j) acc[r][j] = Loader::kScaled ? V::zero() : total[r][j];
    }
    int32_t k = k0;
    if constexpr (Loader::kPairs) {
      for (; k + 2 * V::kLanes <= stop; k += 2 * V::kLanes) {
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) {
          F first, second;
          load.both(j, k, first, second);
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            acc[r][j] = V::fma(V::load(x[r] + k), first, acc[r][j]);
            acc[r][j] = V::fma(V::load(x[r] + k + V::kLanes), second, acc[r][j]);
          }
        }
      }
    }
    for (; k + V::kLanes <= stop; k += V::kLanes) {
      F w[W];
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) w[j] = load.full(j, k, k_block);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F v = V::load(x[r] + k);
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) acc[r][j] = V::fma(v, w[j], acc[r][j]);
      }
    }
    if (k < stop) {
      const int n = stop - k;
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        const F w = load.part(j, k, n, k_block);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          acc[r][j] = V::fma(V::load_n(x[r] + k, n), w, acc[r][j]);
        }
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        total[r][j] = Loader::kScaled
                          ? V::fma(V::set1(load.scale(j, k_block)), acc[r][j], total[r][j])
                          : acc[r][j];
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) y[r * y_stride + j * y_apart] = V::sum(total[r][j]);
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

// y[r, j] for all rows and `count` weight rows. A tile of rows stays in L1 while the weights, a
// panel that fits L2, pass by.
template <class Loader>
static void product(const Loader& weights, int32_t count, const Rows& rows, int32_t k, float* y,
                    int64_t y_stride) {
  for (int32_t r = 0; r < rows.count; r += kTileRows) {
    int32_t j = 0;
    for (; j + kTileWeights <= count; j += kTileWeights) {
      dot_some<kTileRows, kTileWeights>(weights.from(j), rows, r, k, y + j, y_stride);
    }
    for (; j < count; ++j) dot_some<kTileRows, 1>(weights.from(j), rows, r, k, y + j, y_stride);
  }
}

// Unpacked weight rows in scratch: FP32, the format's scales still apart.
template <class Raw>
struct Panel {
  static constexpr bool kScaled = Raw::kScaled;
  static constexpr bool kPairs = false;
  Raw raw;
  const float* rows;
  int64_t stride;
  int32_t block;
  Panel from(int32_t j) const { return {raw.from(j), rows + j * stride, stride, block}; }
  F full(int j, int32_t k, int32_t) const { return V::load(rows + j * stride + k); }
  F part(int j, int32_t k, int n, int32_t) const { return V::load_n(rows + j * stride + k, n); }
  float scale(int j, int32_t k_block) const { return raw.scale(j, k_block); }
};

template <class Raw>
static Panel<Raw> unpack(const Raw& raw, int32_t count, int32_t in, float* rows) {
  const int64_t stride = (in + V::kLanes - 1) / V::kLanes * V::kLanes;
  for (int j = 0; j < count; ++j) {
    const Raw from = raw.from(j);
    float* row = rows + j * stride;
    int32_t block = 0;
    for (int32_t k = 0; k < in; ++block) {
      const int32_t stop = in - k < raw.block ? in : k + raw.block;
      for (; k + V::kLanes <= stop; k += V::kLanes) {
        from.prefetch(k);
        V::store(row + k, from.full(0, k, block));
      }
      if (k < stop) V::store_n(row + k, stop - k, from.part(0, k, stop - k, block));
      k = stop;
    }
  }
  return {raw, rows, stride, raw.block};
}

template <class Raw>
static void matmul(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Rows x{static_cast<const float*>(a.x), a.x_stride, a.index, a.rows};
  if (a.rows <= kTileRows) {
    for_each_four(
        begin, end, a.w.row_bytes(),
        [&](const Spread& rows) {
          dot_some<kTileRows, kTileWeights>(Raw(a.w, rows), x, 0, a.w.in, a.y + rows.first,
                                            a.y_stride, rows.apart);
        },
        [&](const Spread& rows, int64_t count) {
          product(Raw(a.w, rows), static_cast<int32_t>(count), x, a.w.in, a.y + rows.first,
                  a.y_stride);
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
  static constexpr bool kPairs = false;  // whether two vectors are widened together
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
};

// BF16 or FP16: Convert widens one vector.
template <class Convert>
struct HalfRows {
  static constexpr bool kScaled = false;
  static constexpr bool kPairs = false;
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
};

// Codes with one scale per block; a block's partial sum is multiplied once. Decode gives the codes
// of a row as numbers.
template <class Decode>
struct CodedRows {
  static constexpr bool kScaled = true;
  static constexpr bool kPairs = Decode::kFormat == WeightFormat::kF8;
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
  void both(int j, int32_t k, F& first, F& second) const {
    F8::both(codes + j * stride + k, first, second);
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
    return Decode::kFormat == WeightFormat::kF8 ? scales[j][b] * F8::kUnit : scales[j][b];
  }
};

// In units of F8::kUnit.
struct F8Decode {
  static constexpr WeightFormat kFormat = WeightFormat::kF8;
  static F full(const uint8_t* row, int32_t k, float) { return F8::full(row + k); }
  static F part(const uint8_t* row, int32_t k, int n, float) { return F8::part(row + k, n); }
};

struct I8Decode {
  static constexpr WeightFormat kFormat = WeightFormat::kI8;
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
  static F number(__m128i codes) {
    const __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return V::from_i8(_mm_shuffle_epi8(table, codes));
  }
  static F full(const uint8_t* row, int32_t k, float) { return number(all_nibbles(row, k)); }
  static F part(const uint8_t* row, int32_t k, int n, float) {
    return number(some_nibbles(row, k, n));
  }
};

static void rms_norm(const RmsNormArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    F squares = V::zero();
    int32_t i = 0;
    for (; i + V::kLanes <= a.n; i += V::kLanes) {
      const F v = V::load(x + i);
      squares = V::fma(v, v, squares);
    }
    if (i < a.n) {
      const F v = V::load_n(x + i, a.n - i);
      squares = V::fma(v, v, squares);
    }
    const F factor =
        V::set1(1.0f / __builtin_sqrtf(V::sum(squares) / static_cast<float>(a.n) + a.eps));
    for (i = 0; i + V::kLanes <= a.n; i += V::kLanes) {
      V::store(y + i, V::mul(V::mul(V::load(x + i), factor), V::load(a.weight + i)));
    }
    if (i < a.n) {
      const int n = a.n - i;
      V::store_n(y + i, n, V::mul(V::mul(V::load_n(x + i, n), factor), V::load_n(a.weight + i, n)));
    }
  }
}

static void add(const AddArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    float* x = a.x + t * a.x_stride;
    const float* delta = a.delta + t * a.delta_stride;
    int32_t i = 0;
    for (; i + V::kLanes <= a.n; i += V::kLanes) {
      V::store(x + i, V::add(V::load(x + i), V::load(delta + i)));
    }
    for (; i < a.n; ++i) x[i] += delta[i];
  }
}

static F silu(F gate) {
  const F one = V::set1(1.0f);
  return V::div(gate, V::add(one, V::exp(V::sub(V::zero(), gate))));
}

static void silu_mul(const SiluMulArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* gate = a.gate + t * a.gate_stride;
    const float* up = a.up + t * a.up_stride;
    float* y = a.y + t * a.y_stride;
    int32_t i = 0;
    for (; i + V::kLanes <= a.n; i += V::kLanes) {
      V::store(y + i, V::mul(silu(V::load(gate + i)), V::load(up + i)));
    }
    if (i < a.n) {
      const int n = a.n - i;
      V::store_n(y + i, n, V::mul(silu(V::load_n(gate + i, n)), V::load_n(up + i, n)));
    }
  }
}

static void combine(const CombineArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    float* y = a.y + t * a.y_stride;
    const int32_t* slots = a.slots + t * a.top_k;
    const float* weights = a.weights + t * a.top_k;
    for (int32_t i = 0; i < a.n; i += V::kLanes) {
      const int n = a.n - i < V::kLanes ? a.n - i : V::kLanes;
      F sum = a.base ? V::load_n(a.base + t * a.n + i, n) : V::zero();
      for (int32_t k = 0; k < a.top_k; ++k) {
        sum = V::fma(V::set1(weights[k]), V::load_n(a.rows + int64_t{slots[k]} * a.n + i, n), sum);
      }
      V::store_n(y + i, n, sum);
    }
  }
}

// scores[q, j] = q . key_j for all positions of the block.
static void attention_scores(const AttentionTile& a) {
  const Rows q{static_cast<const float*>(a.q), a.stride, nullptr, a.queries};
  product(F32Rows(static_cast<const float*>(a.keys), a.stride), a.positions, q, a.latent + a.rope,
          a.scores, kKvBlock);
}

// In place: scores to exp(score - max) up to the query's limit.
static void attention_softmax(const AttentionTile& a, int32_t q) {
  float* scores = a.scores + q * kKvBlock;
  const int32_t limit = a.limits[q];
  // Whole vectors: what follows the limit counts as nothing.
  const int32_t stop = (limit + V::kLanes - 1) / V::kLanes * V::kLanes;
  for (int32_t j = limit; j < stop; ++j) scores[j] = -__builtin_inff();
  F top = V::set1(-__builtin_inff());
  for (int32_t j = 0; j < stop; j += V::kLanes) top = V::max(top, V::load(scores + j));
  const float max = V::largest(top);
  F sum = V::zero();
  for (int32_t j = 0; j < stop; j += V::kLanes) {
    const F weight = V::exp(V::sub(V::load(scores + j), V::set1(max)));
    V::store(scores + j, weight);
    sum = V::add(sum, weight);
  }
  a.max[q] = max;
  a.sum[q] = V::sum(sum);
}

// acc[q, i ...] = sum over positions, in order, of score[q, j] * key[j, i ...]. Queries of a tile
// walk together as far as all of them see, then each to its own limit.
template <int R, int C>
static void weighted_sum(const AttentionTile& a, int32_t q, int32_t i) {
  const int64_t width = a.stride;
  const float* keys = static_cast<const float*>(a.keys);
  F acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = V::zero();
  }
  int32_t shared = a.limits[q];
  for (int r = 1; r < R; ++r) shared = a.limits[q + r] < shared ? a.limits[q + r] : shared;
  for (int32_t j = 0; j < shared; ++j) {
    const float* key = keys + j * width + i;
    F value[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) value[c] = V::load(key + c * V::kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F p = V::set1(a.scores[(q + r) * kKvBlock + j]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = V::fma(p, value[c], acc[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int32_t j = shared; j < a.limits[q + r]; ++j) {
      const F p = V::set1(a.scores[(q + r) * kKvBlock + j]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        acc[r][c] = V::fma(p, V::load(keys + j * width + i + c * V::kLanes), acc[r][c]);
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      V::store(a.acc + int64_t{q + r} * a.latent + i + c * V::kLanes, acc[r][c]);
    }
  }
}

template <int R>
static void weighted_sums(const AttentionTile& a, int32_t q) {
  constexpr int kColumns = 4;
  int32_t i = 0;
  for (; i + kColumns * V::kLanes <= a.latent; i += kColumns * V::kLanes) {
    weighted_sum<R, kColumns>(a, q, i);
  }
  for (; i + V::kLanes <= a.latent; i += V::kLanes) weighted_sum<R, 1>(a, q, i);
  const float* keys = static_cast<const float*>(a.keys);
  for (; i < a.latent; ++i) {
    for (int r = 0; r < R; ++r) {
      float sum = 0;
      for (int32_t j = 0; j < a.limits[q + r]; ++j) {
        sum = __builtin_fmaf(a.scores[(q + r) * kKvBlock + j], keys[j * a.stride + i], sum);
      }
      a.acc[int64_t{q + r} * a.latent + i] = sum;
    }
  }
}

static void attention_tile(const AttentionTile& a) {
  attention_scores(a);
  for (int32_t q = 0; q < a.queries; ++q) attention_softmax(a, q);
  int32_t q = 0;
  for (; q + kTileRows <= a.queries; q += kTileRows) weighted_sums<kTileRows>(a, q);
  for (; q < a.queries; ++q) weighted_sums<1>(a, q);
}

static void attention_merge(const AttentionMerge& a) {
  if (a.block_sum == 0) return;
  const float max = *a.max > a.block_max ? *a.max : a.block_max;
  const float keep = *a.sum == 0 ? 0.0f : V::first(V::exp(V::set1(*a.max - max)));
  const float take = V::first(V::exp(V::set1(a.block_max - max)));
  for (int32_t i = 0; i < a.latent; i += V::kLanes) {
    const int n = a.latent - i < V::kLanes ? a.latent - i : V::kLanes;
    const F kept = V::mul(V::load_n(a.acc + i, n), V::set1(keep));
    V::store_n(a.acc + i, n, V::fma(V::load_n(a.block_acc + i, n), V::set1(take), kept));
  }
  *a.sum = *a.sum * keep + a.block_sum * take;
  *a.max = max;
}

static void attention_query(const float* latent, int32_t n, const float* rope, int32_t rope_n,
                            float scale, void* query, int64_t) {
  float* q = static_cast<float*>(query);
  const auto put = [&](const float* from, int32_t count, float* to) {
    for (int32_t i = 0; i < count; i += V::kLanes) {
      const int left = count - i < V::kLanes ? count - i : V::kLanes;
      V::store_n(to + i, left, V::mul(V::load_n(from + i, left), V::set1(scale)));
    }
  };
  put(latent, n, q);
  put(rope, rope_n, q + n);
}

static F kv_numbers(const KvLayer& kv, int64_t i, int n) {
  switch (kv.format) {
    case KvFormat::kF32:
      return V::load_n(static_cast<const float*>(kv.data) + i, n);
    case KvFormat::kBF16:
      return Bf16::part(static_cast<const uint16_t*>(kv.data) + i, n);
    case KvFormat::kF8E4M3:
      return V::mul(f8_part(static_cast<const uint8_t*>(kv.data) + i, n), V::set1(kv.scale));
    case KvFormat::kF8E5M2: {
      alignas(32) uint16_t halves[16] = {};
      for (int j = 0; j < n; ++j) {
        halves[j] = static_cast<uint16_t>(static_cast<const uint8_t*>(kv.data)[i + j] << 8);
      }
      return V::mul(F16::full(halves), V::set1(kv.scale));
    }
  }
  return V::zero();
}

static void attention_load(const KvLayer& kv, const int32_t* slots, int32_t n, void* keys,
                           int64_t stride) {
  const int32_t width = kv.latent + kv.rope;
  for (int32_t j = 0; j < n; ++j) {
    float* key = static_cast<float*>(keys) + j * stride;
    const int64_t row = int64_t{slots[j]} * width;
    for (int32_t i = 0; i < width; i += V::kLanes) {
      const int count = width - i < V::kLanes ? width - i : V::kLanes;
      V::store_n(key + i, count, kv_numbers(kv, row + i, count));
    }
  }
}

static void embed(const EmbedArgs& a, int64_t begin, int64_t end) {
  const int32_t n = a.table.in;
  for (int64_t t = begin; t < end; ++t) {
    float* y = a.y + t * a.y_stride;
    const int64_t row = int64_t{a.ids[t]} * n;
    for (int32_t i = 0; i < n; i += V::kLanes) {
      const int count = n - i < V::kLanes ? n - i : V::kLanes;
      F v;
      if (a.table.format == WeightFormat::kF32) {
        v = V::load_n(static_cast<const float*>(a.table.data) + row + i, count);
      } else {
        const uint16_t* half = static_cast<const uint16_t*>(a.table.data) + row + i;
        v = a.table.format == WeightFormat::kF16 ? F16::part(half, count) : Bf16::part(half, count);
      }
      V::store_n(y + i, count, v);
    }
  }
}

static void rope(const RopeArgs& a, int64_t begin, int64_t end) {
  const int32_t pairs = a.n / 2;
  for (int64_t t = begin; t < end; ++t) {
    const float* cos = a.cos + int64_t{a.positions[t]} * pairs;
    const float* sin = a.sin + int64_t{a.positions[t]} * pairs;
    for (int32_t h = 0; h < a.heads; ++h) {
      float* x = a.x + t * a.row_stride + h * a.head_stride;
      int32_t i = 0;
      for (; i + V::kLanes / 2 <= pairs; i += V::kLanes / 2) {
        // even * cos - odd * sin, odd * cos + even * sin
        const F v = V::load(x + 2 * i);
        const F turned = V::mul(V::swap_pairs(v), V::twice(sin + i));
        V::store(x + 2 * i, V::fma_sub_add(v, V::twice(cos + i), turned));
      }
      for (; i < pairs; ++i) {
        const float even = x[2 * i];
        const float odd = x[2 * i + 1];
        x[2 * i] = even * cos[i] - odd * sin[i];
        x[2 * i + 1] = even * sin[i] + odd * cos[i];
      }
    }
  }
}

static void add_kernels(Ops& ops) {
  const auto set = [&](WeightFormat format,
                       void (*run)(const MatmulArgs&, int64_t, int64_t, void*)) {
    ops.matmul[static_cast<int>(format)] = {ActivationFormat::kF32, run};
    ops.float_matmul[static_cast<int>(format)] = {ActivationFormat::kF32, run};
  };
  set(WeightFormat::kF32, matmul<F32Rows>);
  set(WeightFormat::kF16, matmul<HalfRows<F16>>);
  set(WeightFormat::kBF16, matmul<HalfRows<Bf16>>);
  set(WeightFormat::kF8, matmul<CodedRows<F8Decode>>);
  set(WeightFormat::kI8, matmul<CodedRows<I8Decode>>);
  set(WeightFormat::kI4, matmul<CodedRows<I4Decode>>);
  set(WeightFormat::kFp4, matmul<CodedRows<Fp4Decode>>);
  ops.rms_norm = rms_norm;
  ops.add = add;
  ops.silu_mul = silu_mul;
  ops.combine = combine;
  ops.embed = embed;
  ops.rope = rope;
  ops.attention = ops.float_attention = {4, 1, attention_query, attention_load, attention_tile};
  ops.attention_merge = attention_merge;
}
