// Part of the floating-point products with weights that have a scale per block of columns.

// The scales of W weight rows, block by block of K. Sums are kept in units of the block at hand and
// multiplied by the quotient of two scales in between: so they never leave their registers, where a
// second sum of what came before would need as many again. Magnitudes below 2^-80, such as the 0 of
// a block of zeros, count as 2^-80: sums up to 2^48 then stay finite in units of that.
template <int W>
struct RunningScale {
  static_assert(W <= 4);
  __m128 current = _mm_set1_ps(1);

  // What the sums so far must be multiplied by.
  template <class Loader>
  __m128 next(const Loader& load, int32_t k_block) {
    const auto of = [&](int j) { return j < W ? load.scale(j, k_block) : 1.0f; };
    const __m128 scale = _mm_setr_ps(of(0), of(1), of(2), of(3));
    const __m128 lowest = _mm_set1_ps(0x1p-80f);
    const __m128 small = _mm_cmplt_ps(_mm_andnot_ps(_mm_set1_ps(-0.0f), scale), lowest);
    const __m128 now = _mm_blendv_ps(scale, lowest, small);
    const __m128 factor = _mm_div_ps(current, now);
    current = now;
    return factor;
  }
};
