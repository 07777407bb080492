// AVX-VNNI, AVX-512 and AMX intrinsics for machines without them: SIMDe's, and what SIMDe lacks.
// Kernels that are compiled with this folder before the compiler's own headers run anywhere,
// slowly. They compute what the instructions compute, but that BF16 products are added up in
// another order and keep denormals. Tiles that the processor would refuse end the program.
#pragma once
#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32

// Internal linkage: these are compiled with flags that the rest of a program lacks.
namespace fathom::emulated {
namespace {

// Vectors as arrays of their lanes.
template <class T, class Vector>
struct Lanes {
  static constexpr int kCount = sizeof(Vector) / sizeof(T);
  T of[kCount];
  Lanes() : of{} {}
  explicit Lanes(Vector v) { __builtin_memcpy(of, &v, sizeof v); }
  operator Vector() const {
    Vector v;
    __builtin_memcpy(&v, of, sizeof v);
    return v;
  }
};

template <class T, class Vector, class Mask>
Vector load(Mask mask, const void* p) {
  Lanes<T, Vector> v;
  for (int i = 0; i < v.kCount; ++i) {
    if (mask >> i & 1) __builtin_memcpy(&v.of[i], static_cast<const T*>(p) + i, sizeof(T));
  }
  return v;
}
template <class T, class Vector, class Mask>
void store(void* p, Mask mask, Vector from) {
  const Lanes<T, Vector> v(from);
  for (int i = 0; i < v.kCount; ++i) {
    if (mask >> i & 1) __builtin_memcpy(static_cast<T*>(p) + i, &v.of[i], sizeof(T));
  }
}
// Lane by lane.
template <class To, class From, class Result, class Vector, class Function>
Result map(Vector from, Function function) {
  const Lanes<From, Vector> v(from);
  Lanes<To, Result> result;
  for (int i = 0; i < result.kCount; ++i) result.of[i] = function(v.of[i], i);
  return result;
}
inline float first(__m512 v) {
  return Lanes<float, __m512>(v).of[0];
}
inline __mmask16 compare(__m512i a, __m512i b, bool less) {
  const Lanes<unsigned, __m512i> x(a), y(b);
  __mmask16 mask = 0;
  for (int i = 0; i < 16; ++i) {
    mask |= static_cast<__mmask16>((less ? x.of[i] < y.of[i] : x.of[i] == y.of[i]) << i);
  }
  return mask;
}
// In the order of _mm512_reduce_*: halves onto each other.
template <class Function>
float reduce(__m512 v, Function function) {
  Lanes<float, __m512> lanes(v);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes.of[i] = function(lanes.of[i], lanes.of[i + half]);
  }
  return lanes.of[0];
}
// To nearest, ties to even; NaN stays one. Denormals count as zero, as they do for VCVTNEPS2BF16.
inline unsigned short bf16(float v) {
  unsigned bits;
  __builtin_memcpy(&bits, &v, 4);
  if ((bits & 0x7f800000) == 0) return static_cast<unsigned short>(bits >> 16 & 0x8000);
  if (v != v) return static_cast<unsigned short>(bits >> 16 | 0x40);
  return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// AMX tiles, as they are configured; of each thread.
struct Tile {
  int rows;
  int row_bytes;
  unsigned char data[16][64];
};
thread_local Tile tiles[8];

inline void demand(bool condition) {
  if (!condition) __builtin_trap();
}
inline void tile_configure(const void* config) {
  const auto* bytes = static_cast<const unsigned char*>(config);
  demand(bytes[0] == 1);  // palette
  for (int i = 1; i < 16; ++i) demand(bytes[i] == 0);
  for (int t = 0; t < 8; ++t) {
    unsigned short row_bytes;
    __builtin_memcpy(&row_bytes, bytes + 16 + 2 * t, 2);
    demand(bytes[48 + t] <= 16 && row_bytes <= 64);
    tiles[t] = {bytes[48 + t], row_bytes, {}};
  }
}
inline void demand_shapes(int c, int a, int b) {
  demand(tiles[a].row_bytes % 4 == 0 && tiles[a].row_bytes / 4 == tiles[b].rows);
  demand(tiles[b].row_bytes == tiles[c].row_bytes && tiles[a].rows == tiles[c].rows);
  demand(tiles[c].rows > 0 && tiles[c].row_bytes > 0 && tiles[b].rows > 0);
}
inline void tile_zero(int t) {
  __builtin_memset(tiles[t].data, 0, sizeof tiles[t].data);
}
inline void tile_load(int t, const void* base, long stride) {
  tile_zero(t);
  for (int r = 0; r < tiles[t].rows; ++r) {
    __builtin_memcpy(tiles[t].data[r], static_cast<const char*>(base) + r * stride,
                     static_cast<unsigned>(tiles[t].row_bytes));
  }
}
inline void tile_store(int t, void* base, long stride) {
  for (int r = 0; r < tiles[t].rows; ++r) {
    __builtin_memcpy(static_cast<char*>(base) + r * stride, tiles[t].data[r],
                     static_cast<unsigned>(tiles[t].row_bytes));
  }
}
// c[m][n] += a[m][4k + i] * b[k][4n + i], i = 0 ... 3
inline void tile_dot_int8(int c, int a, int b) {
  demand_shapes(c, a, b);
  const auto code = [](int t, int row, int i) {
    return static_cast<int>(static_cast<signed char>(tiles[t].data[row][i]));
  };
  for (int m = 0; m < tiles[c].rows; ++m) {
    for (int n = 0; n < tiles[c].row_bytes / 4; ++n) {
      int sum;
      __builtin_memcpy(&sum, tiles[c].data[m] + 4 * n, 4);
      for (int k = 0; k < tiles[a].row_bytes; ++k) {
        sum += code(a, m, k) * code(b, k / 4, 4 * n + k % 4);
      }
      __builtin_memcpy(tiles[c].data[m] + 4 * n, &sum, 4);
    }
  }
}
// c[m][n] += a[m][2k] * b[k][2n] + a[m][2k + 1] * b[k][2n + 1]
inline void tile_dot_bf16(int c, int a, int b) {
  demand_shapes(c, a, b);
  const auto number = [](int t, int row, int i) {
    unsigned short half;
    __builtin_memcpy(&half, tiles[t].data[row] + 2 * i, 2);
    const unsigned bits = static_cast<unsigned>(half) << 16;
    float v;
    __builtin_memcpy(&v, &bits, 4);
    return v;
  };
  for (int m = 0; m < tiles[c].rows; ++m) {
    for (int n = 0; n < tiles[c].row_bytes / 4; ++n) {
      float sum;
      __builtin_memcpy(&sum, tiles[c].data[m] + 4 * n, 4);
      for (int k = 0; k < tiles[a].row_bytes / 4; ++k) {
        for (int i = 0; i < 2; ++i) {
          sum = __builtin_fmaf(number(a, m, 2 * k + i), number(b, k, 2 * n + i), sum);
        }
      }
      __builtin_memcpy(tiles[c].data[m] + 4 * n, &sum, 4);
    }
  }
}

}  // namespace
}  // namespace fathom::emulated

#define _mm_maskz_loadu_epi8(m, p) (fathom::emulated::load<char, __m128i>(m, p))
#define _mm_maskz_loadu_ps(m, p) (fathom::emulated::load<float, __m128>(m, p))
#define _mm256_maskz_loadu_epi8(m, p) (fathom::emulated::load<char, __m256i>(m, p))
#define _mm256_maskz_loadu_epi16(m, p) (fathom::emulated::load<short, __m256i>(m, p))
#define _mm256_maskz_loadu_ps(m, p) (fathom::emulated::load<float, __m256>(m, p))
#define _mm256_mask_storeu_epi16(p, m, v) (fathom::emulated::store<short, __m256i>(p, m, v))
#define _mm512_maskz_loadu_epi8(m, p) (fathom::emulated::load<char, __m512i>(m, p))
#define _mm512_maskz_loadu_epi16(m, p) (fathom::emulated::load<short, __m512i>(m, p))
#define _mm512_maskz_loadu_ps(m, p) (fathom::emulated::load<float, __m512>(m, p))
#define _mm512_mask_storeu_ps(p, m, v) (fathom::emulated::store<float, __m512>(p, m, v))
#define _mm512_mask_storeu_epi32(p, m, v) (fathom::emulated::store<int, __m512i>(p, m, v))
#define _mm512_cmpeq_epu32_mask(a, b) (fathom::emulated::compare(a, b, false))
#define _mm512_cmplt_epu32_mask(a, b) (fathom::emulated::compare(a, b, true))
#define _mm512_cvtepi32_epi8(v)                      \
  (fathom::emulated::map<signed char, int, __m128i>( \
      v, [](int x, int) { return static_cast<signed char>(x); }))
#define _mm512_cvtepi32_ps(v) \
  (fathom::emulated::map<float, int, __m512>(v, [](int x, int) { return static_cast<float>(x); }))
#define _mm512_cvtepi8_epi32(v) \
  (fathom::emulated::map<int, signed char, __m512i>(v, [](int x, int) { return x; }))
#define _mm512_cvtepu8_epi32(v) \
  (fathom::emulated::map<int, unsigned char, __m512i>(v, [](int x, int) { return x; }))
#define _mm512_cvtepu16_epi32(v) \
  (fathom::emulated::map<int, unsigned short, __m512i>(v, [](int x, int) { return x; }))
#define _mm512_cvtps_epi32(v)                  \
  (fathom::emulated::map<int, float, __m512i>( \
      v, [](float x, int) { return _mm_cvtss_si32(_mm_set_ss(x)); }))
#define _mm512_cvtph_ps(v)                               \
  (fathom::emulated::map<float, unsigned short, __m512>( \
      v, [](unsigned short x, int) { return _cvtsh_ss(x); }))
#define _mm512_cvtss_f32(v) (fathom::emulated::first(v))
#define _mm512_permute_ps(v, order) (_mm512_shuffle_ps(v, v, order))
#define _mm512_extractf32x8_ps(v, half) \
  (_mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(v), half)))
#define _mm512_fmaddsub_ps(a, b, c)                                                \
  (fathom::emulated::map<float, float, __m512>(                                    \
      __m512(c), [x = fathom::emulated::Lanes<float, __m512>(a),                   \
                  y = fathom::emulated::Lanes<float, __m512>(b)](float z, int i) { \
        return __builtin_fmaf(x.of[i], y.of[i], i % 2 == 0 ? -z : z);              \
      }))
#define _mm512_reduce_add_ps(v) \
  (fathom::emulated::reduce(v, [](float a, float b) { return a + b; }))
#define _mm512_reduce_max_ps(v) \
  (fathom::emulated::reduce(v, [](float a, float b) { return a > b ? a : b; }))
#define _mm512_cvtneps_pbh(v)                              \
  (fathom::emulated::map<unsigned short, float, __m256bh>( \
      v, [](float x, int) { return fathom::emulated::bf16(x); }))
#define _mm512_cvtne2ps_pbh(high, low)                                                    \
  ((__m512bh)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)_mm512_cvtneps_pbh(low)), \
                                (__m256i)_mm512_cvtneps_pbh(high), 1))
// SIMDe 0.7.4 defines this name with the arguments of the masked one.
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

#undef _tile_loadconfig
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(config) fathom::emulated::tile_configure(config)
#define _tile_loadd(t, base, stride) fathom::emulated::tile_load(t, base, stride)
#define _tile_stored(t, base, stride) fathom::emulated::tile_store(t, base, stride)
#define _tile_zero(t) fathom::emulated::tile_zero(t)
#define _tile_dpbf16ps(c, a, b) fathom::emulated::tile_dot_bf16(c, a, b)
#define _tile_dpbssd(c, a, b) fathom::emulated::tile_dot_int8(c, a, b)
#define _tile_release()
