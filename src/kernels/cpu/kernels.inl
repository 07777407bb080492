// FP32 kernels of the SIMD targets, written once over a vector type V and compiled in each target's
// own namespace with its own flags. Include after V and the weight loaders are defined, and
// kernels/streams.h and kernels/cpu/next_block.h.

// Everything here is static: a function of this file must never be shared between targets.

#include "kernels/cpu/float_matmul.inl"

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

// scores[q, j] = q . key_j for all positions of the block. A few queries stay in L1 while the keys
// come from L2.
static void attention_scores(const AttentionTile& a) {
  const F32Rows keys(static_cast<const float*>(a.keys), a.stride);
  const int32_t groups = (a.queries + kInnerRows - 1) / kInnerRows;
  for (int32_t q = 0; q < a.queries; q += kInnerRows) {
    const int32_t some = a.queries - q < kInnerRows ? a.queries - q : kInnerRows;
    const Rows queries{static_cast<const float*>(a.q) + q * a.stride, a.stride, nullptr, some};
    for (int32_t j = 0; j < a.positions; j += kTileWeights) {
      // Each of the next block's rows once, spread over all queries.
      if (j / kTileWeights % groups == q / kInnerRows) prefetch_next(a, j, kTileWeights);
      const int32_t count = a.positions - j < kTileWeights ? a.positions - j : kTileWeights;
      product_by_tiles(keys.from(j), count, queries, a.latent + a.rope, a.scores + q * kKvBlock + j,
                       kKvBlock, 1);
    }
  }
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
  if constexpr (R > 1) {
    if (a.queries - q < R) return weighted_sum<R - 1, C>(a, q, i);
  }
  const int64_t width = a.stride;
  const float* keys = static_cast<const float*>(a.keys);
  F acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = V::zero();
  }
  int32_t shared = a.limits[q];
  for (int r = 1; r < R; ++r) shared = a.limits[q + r] < shared ? a.limits[q + r] : shared;
  const float* key = keys + i;
  const float* scores = a.scores + q * kKvBlock;
  for (int32_t j = 0; j < shared; ++j, key += width) {
    F value[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) value[c] = V::load(key + c * V::kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F p = V::set1(scores[r * kKvBlock + j]);
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

// C vectors of columns of all queries: these columns of the block's keys stay in L1 meanwhile.
template <int C>
static void weighted_columns(const AttentionTile& a, int32_t i) {
  for (int32_t q = 0; q < a.queries; q += kSumRows) weighted_sum<kSumRows, C>(a, q, i);
}

static void attention_tile(const AttentionTile& a) {
  attention_scores(a);
  for (int32_t q = 0; q < a.queries; ++q) attention_softmax(a, q);
  int32_t i = 0;
  for (; i + kSumColumns * V::kLanes <= a.latent; i += kSumColumns * V::kLanes) {
    weighted_columns<kSumColumns>(a, i);
  }
  for (; i + V::kLanes <= a.latent; i += V::kLanes) weighted_columns<1>(a, i);
  const float* keys = static_cast<const float*>(a.keys);
  for (; i < a.latent; ++i) {
    for (int32_t q = 0; q < a.queries; ++q) {
      float sum = 0;
      for (int32_t j = 0; j < a.limits[q]; ++j) {
        sum = __builtin_fmaf(a.scores[q * kKvBlock + j], keys[j * a.stride + i], sum);
      }
      a.acc[int64_t{q} * a.latent + i] = sum;
    }
  }
}

static void attention_merge(const AttentionMerge& a) {
  if (a.block_sum == 0) return;
  const float max = *a.max > a.block_max ? *a.max : a.block_max;
  const float keep = *a.sum == 0 ? 0.0f : V::first(V::exp(V::set1(*a.max - max)));
  const float take = V::first(V::exp(V::set1(a.block_max - max)));
  int32_t i = 0;
  for (; i + V::kLanes <= a.latent; i += V::kLanes) {
    const F kept = V::mul(V::load(a.acc + i), V::set1(keep));
    V::store(a.acc + i, V::fma(V::load(a.block_acc + i), V::set1(take), kept));
  }
  if (const int n = a.latent - i; n > 0) {
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

// Numbers of the pool, a vector or n of them.
struct F32Cache {
  using Element = float;
  static F full(const float* p) { return V::load(p); }
  static F part(const float* p, int n) { return V::load_n(p, n); }
};
struct F8E4M3Cache {
  using Element = uint8_t;
  static F full(const uint8_t* p) { return f8_full(p); }
  static F part(const uint8_t* p, int n) { return f8_part(p, n); }
};
struct F8E5M2Cache {
  using Element = uint8_t;
  static F full(const uint8_t* p) { return part(p, V::kLanes); }
  static F part(const uint8_t* p, int n) {
    alignas(32) uint16_t halves[16] = {};
    for (int j = 0; j < n; ++j) halves[j] = static_cast<uint16_t>(p[j] << 8);
    return F16::full(halves);
  }
};
struct Bf16Cache : Bf16 {
  using Element = uint16_t;
};

template <class Cache>
static void load_positions(const KvLayer& kv, const int32_t* slots, int32_t n, void* keys,
                           int64_t stride) {
  constexpr bool kScaled = sizeof(typename Cache::Element) == 1;
  const F scale = V::set1(kv.scale);
  const int32_t width = kv.latent + kv.rope;
  const auto scaled = [&](F v) { return kScaled ? V::mul(v, scale) : v; };
  for (int32_t j = 0; j < n; ++j) {
    float* key = static_cast<float*>(keys) + j * stride;
    const auto* row =
        static_cast<const typename Cache::Element*>(kv.data) + int64_t{slots[j]} * width;
    int32_t i = 0;
    for (; i + V::kLanes <= width; i += V::kLanes) V::store(key + i, scaled(Cache::full(row + i)));
    if (i < width) V::store_n(key + i, width - i, scaled(Cache::part(row + i, width - i)));
  }
}

static void attention_load(const KvLayer& kv, const int32_t* slots, int32_t n, void* keys,
                           int64_t stride) {
  switch (kv.format) {
    case KvFormat::kF32:
      return load_positions<F32Cache>(kv, slots, n, keys, stride);
    case KvFormat::kBF16:
      return load_positions<Bf16Cache>(kv, slots, n, keys, stride);
    case KvFormat::kF8E4M3:
      return load_positions<F8E4M3Cache>(kv, slots, n, keys, stride);
    case KvFormat::kF8E5M2:
      return load_positions<F8E5M2Cache>(kv, slots, n, keys, stride);
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
  set(WeightFormat::kF8, matmul<CodedRows<F8Decode>>);  // AVX2: its own, over rows of order_f8
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
