// Part of integer.inl: input rows to codes, scales and sums (quantized_row.h).

// Largest magnitude; NaN or infinity if there is one.
static float largest(const float* x, int32_t n) {
  F max = V::zero();
  F bad = V::zero();  // NaN once a number is not finite
  for (int32_t i = 0; i < n; i += V::kLanes) {
    const F v = V::load_n(x + i, n - i < V::kLanes ? n - i : V::kLanes);
    max = V::max(max, V::abs(v));
    bad = V::fma(v, V::zero(), bad);
  }
  return V::largest(max) + V::sum(bad);
}

static void quantize(const QuantLayout& q, const float* x, int64_t x_stride, void* y,
                     int64_t y_stride, int64_t begin, int64_t end) {
  const int64_t steps = quant_steps(q);
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x + t * x_stride;
    int8_t* row = static_cast<int8_t*>(y) + t * y_stride;
    float* scales = reinterpret_cast<float*>(row + quant_scales_at(q));
    float* sums = reinterpret_cast<float*>(row + quant_sums_at(q));
    int32_t row_sum = 0;
    float factor = 0;
    const auto set_scale = [&](const float* p, int32_t n) {
      float amax = largest(p, n);
      const bool finite = amax < __builtin_inff();
      amax = amax > 1e-10f ? amax : 1e-10f;
      factor = finite ? 127.0f / amax : 0.0f;
      return finite ? amax / 127.0f : __builtin_nanf("");
    };
    if (q.unit == 0) scales[0] = set_scale(from, q.in);
    for (int64_t step = 0; step < steps; ++step) {
      const float* p = from + step * kQuantStep;
      const int32_t n = static_cast<int32_t>(
          q.in - step * kQuantStep < kQuantStep ? q.in - step * kQuantStep : kQuantStep);
      if (q.unit != 0) scales[step] = set_scale(p, n);
      alignas(64) int8_t codes[kQuantStep];
      for (int32_t i = 0; i < kQuantStep; i += V::kLanes) {
        const int32_t left = n - i < 0 ? 0 : n - i < V::kLanes ? n - i : V::kLanes;
        // Numbers that are not finite give any code; then all are zero.
        I::to_codes(codes + i, V::mul(V::load_n(p + i, left), V::set1(factor)));
      }
      if (factor == 0) __builtin_memset(codes, 0, sizeof codes);
      int8_t* to = row + step * kQuantStep;
      if (q.split) {
        for (int i = 0; i < kQuantStep / 2; ++i) {
          to[i] = codes[2 * i];
          to[kQuantStep / 2 + i] = codes[2 * i + 1];
        }
      } else {
        __builtin_memcpy(to, codes, kQuantStep);
      }
      int32_t slot[8];  // sums of 16 columns
      for (int s = 0; s < 8; ++s) {
        int32_t sum = 0;
        for (int i = 0; i < 16; ++i) sum += codes[16 * s + i];
        slot[s] = sum;
      }
      const int width = q.unit == 0 ? kQuantStep : q.unit;
      for (int u = 0; u < kQuantStep / width; ++u) {
        int32_t sum = 0;
        for (int s = u * width / 16; s < (u + 1) * width / 16; ++s) sum += slot[s];
        if (q.unit != 0) sums[step * (kQuantStep / width) + u] = static_cast<float>(sum);
        row_sum += sum;
      }
    }
    if (q.unit == 0) *reinterpret_cast<int32_t*>(sums) = row_sum;
  }
}
