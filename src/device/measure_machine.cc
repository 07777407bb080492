#include "device/measure_machine.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "device/stopwatch.h"
#include "tensor/buffer.h"

namespace fathom {
namespace {

constexpr int64_t kBytes = int64_t{1} << 30;
constexpr int kRepetitions = 5;

template <class F>
double best_seconds(const Exec& exec, F&& run) {
  double best = 1e300;
  for (int i = 0; i < kRepetitions; ++i) {
    const double start = seconds_for(exec);
    run();
    best = std::min(best, seconds_for(exec) - start);
  }
  return best;
}

// One stream of the widest loads, which the core's own prefetchers follow: software prefetches and
// narrow loads read less (docs/performance.md). The words are combined so that the loads stay.
using ReadLoop = uint64_t (*)(const std::byte* from, int64_t bytes);

__attribute__((target("avx512f"))) uint64_t read_avx512(const std::byte* from, int64_t bytes) {
  __m512i all = _mm512_setzero_si512();
  for (int64_t i = 0; i + 64 <= bytes; i += 64) {
    all = _mm512_xor_si512(all, _mm512_loadu_si512(from + i));
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(all));
}

__attribute__((target("avx2"))) uint64_t read_avx2(const std::byte* from, int64_t bytes) {
  __m256i all = _mm256_setzero_si256();
  for (int64_t i = 0; i + 32 <= bytes; i += 32) {
    all = _mm256_xor_si256(all, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
  }
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0));
}

uint64_t read_sse(const std::byte* from, int64_t bytes) {
  __m128i all = _mm_setzero_si128();
  for (int64_t i = 0; i + 16 <= bytes; i += 16) {
    all = _mm_xor_si128(all, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(all));
}

ReadLoop widest_read() {
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
  return read_sse;
}

constexpr int kChains = 12;  // independent sums: latency 4 x 2 units, and some to spare
constexpr int64_t kRounds = 1 << 20;

__attribute__((target("avx512f"))) float fma_avx512() {
  __m512 sums[kChains] = {};
  const __m512 x = _mm512_set1_ps(1e-3f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sums[j] = _mm512_fmadd_ps(sums[j], x, x);
      asm volatile("" : "+v"(sums[j]));  // or equal chains are computed once
    }
  }
  __m512 total = sums[0];
#pragma GCC unroll 12
  for (int j = 1; j < kChains; ++j) total = _mm512_add_ps(total, sums[j]);
  return _mm512_cvtss_f32(total);
}

__attribute__((target("avx2,fma"))) float fma_avx2() {
  __m256 sums[kChains] = {};
  const __m256 x = _mm256_set1_ps(1e-3f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sums[j] = _mm256_fmadd_ps(sums[j], x, x);
      asm volatile("" : "+x"(sums[j]));
    }
  }
  __m256 total = sums[0];
#pragma GCC unroll 12
  for (int j = 1; j < kChains; ++j) total = _mm256_add_ps(total, sums[j]);
  return _mm256_cvtss_f32(total);
}

float fma_sse() {  // multiply, then add: x86-64 without FMA
  __m128 sums[kChains] = {};
  const __m128 x = _mm_set1_ps(1e-3f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sums[j] = _mm_add_ps(_mm_mul_ps(sums[j], x), x);
      asm volatile("" : "+x"(sums[j]));
    }
  }
  __m128 total = sums[0];
#pragma GCC unroll 12
  for (int j = 1; j < kChains; ++j) total = _mm_add_ps(total, sums[j]);
  return _mm_cvtss_f32(total);
}

__attribute__((target("avx512f,avx512bf16"))) float dot_bf16() {
  __m512 sums[kChains] = {};
  const auto x = (__m512bh)_mm512_set1_epi16(0x3c00);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sums[j] = _mm512_dpbf16_ps(sums[j], x, x);
      asm volatile("" : "+v"(sums[j]));
    }
  }
  __m512 total = sums[0];
#pragma GCC unroll 12
  for (int j = 1; j < kChains; ++j) total = _mm512_add_ps(total, sums[j]);
  return _mm512_cvtss_f32(total);
}

__attribute__((target("avx512f,avx512vnni"))) float dot_int8() {
  __m512i sums[kChains] = {};
  const __m512i x = _mm512_set1_epi8(1);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sums[j] = _mm512_dpbusd_epi32(sums[j], x, x);
      asm volatile("" : "+v"(sums[j]));
    }
  }
  __m512i total = sums[0];
#pragma GCC unroll 12
  for (int j = 1; j < kChains; ++j) total = _mm512_add_epi32(total, sums[j]);
  return static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(total)));
}

struct FmaLoop {
  float (*run)();
  int lanes;  // multiply-adds per instruction
};
FmaLoop widest_fma() {
  if (__builtin_cpu_supports("avx512f")) return {fma_avx512, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {fma_avx2, 8};
  return {fma_sse, 4};
}

}  // namespace

double read_speed(Exec& exec, std::span<const std::span<const std::byte>> ranges) {
  std::atomic<uint64_t> sink = 0;
  const ReadLoop read = widest_read();
  int64_t total = 0;
  for (const auto& range : ranges) total += static_cast<int64_t>(range.size());
  const double start = seconds_for(exec);
  exec.parallel(total, [&](Range share, int) {
    int64_t first = 0;
    for (const auto& range : ranges) {
      const auto size = static_cast<int64_t>(range.size());
      const int64_t begin = std::max(share.begin - first, int64_t{0});
      const int64_t end = std::min(share.end - first, size);
      if (begin < end) sink += read(range.data() + begin, end - begin);
      first += size;
    }
  });
  return static_cast<double>(total) / (seconds_for(exec) - start);
}

Result<MachineLimits> measure_machine(Exec& exec) {
  Buffer buffer = TRY(Buffer::allocate(kBytes));
  std::atomic<uint64_t> sink = 0;  // keeps the loops alive
  // Written first: reading untouched pages would read one page of zeros again
  // and again.
  exec.parallel(kBytes, [&](Range r, int) {
    std::memset(buffer.data() + r.begin, 1, static_cast<size_t>(r.size()));
  });
  const std::span<const std::byte> whole(buffer.data(), buffer.size());
  double read = 0;
  for (int i = 0; i < kRepetitions; ++i) read = std::max(read, read_speed(exec, {&whole, 1}));
  const auto per_second = [&](const FmaLoop& loop) {
    const double time = best_seconds(exec, [&] {
      exec.parallel(exec.threads(), [&](Range, int) { sink += loop.run() > 0 ? 1 : 0; });
    });
    return 2.0 * kChains * kRounds * loop.lanes * exec.threads() / time;
  };
  const bool bf16 = __builtin_cpu_supports("avx512bf16");
  const bool vnni = __builtin_cpu_supports("avx512vnni");
  return MachineLimits{.read_bytes_per_second = read,
                       .fma_flops_per_second = per_second(widest_fma()),
                       .bf16_flops_per_second = bf16 ? per_second({dot_bf16, 32}) : 0,
                       .int8_ops_per_second = vnni ? per_second({dot_int8, 64}) : 0};
}

}  // namespace fathom
