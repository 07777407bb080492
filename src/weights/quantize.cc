#include "weights/quantize.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "tensor/float_formats.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

constexpr float kF8Max = 448;
constexpr float kI8Max = 127;
constexpr float kFp4Max = 6;
constexpr int32_t kFp4Group = 16;
constexpr float kTiniest = 1e-12f;  // keeps the scale of a block of zeros positive

int64_t block_count(int64_t n, int64_t block) {
  return (n + block - 1) / block;
}

float largest_of(const float* values, int64_t n, float largest = 0) {
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

// Calls body(first, size, scale) for each block of a band, with the scale that maps its largest
// magnitude to `top`.
template <class Body>
void each_block(const float* rows, int64_t count, int64_t in, int64_t block_in, float top,
                float* scales, Body&& body) {
  for (int64_t first = 0, b = 0; first < in; first += block_in, ++b) {
    const int64_t size = std::min(block_in, in - first);
    float largest = kTiniest;
    for (int64_t r = 0; r < count; ++r) largest = largest_of(rows + r * in + first, size, largest);
    scales[b] = largest / top;
    for (int64_t r = 0; r < count; ++r) body(r * in + first, size, scales[b]);
  }
}

uint8_t* section(Buffer& buffer, int64_t& used, int64_t bytes) {
  uint8_t* p = buffer.as<uint8_t>() + used;
  used += (bytes + 63) / 64 * 64;
  return p;
}

// Rows that a thread dequantises at a time.
constexpr int64_t kBandRows = 16;

// An infinity would be the scale of its neighbours, and NaN would become any number.
bool all_finite(const float* values, int64_t n) {
  float zeros = 0;
  for (int64_t i = 0; i < n; ++i) zeros += values[i] * 0;
  return zeros == 0;
}

// use(n, row n as floats, thread) for all rows, in parallel.
template <class Use>
void each_row(const MatrixView& matrix, Exec& exec, Use&& use) {
  exec.parallel(matrix.out, [&](Range range, int thread) {
    std::vector<float> row(static_cast<size_t>(matrix.in));
    for (int64_t n = range.begin; n < range.end; ++n) {
      dequantize(matrix, n, n + 1, row.data());
      use(n, row.data(), thread);
    }
  });
}

// All bands of a matrix under one given scale. False if not all of its numbers are finite.
bool quantize_per_tensor(const MatrixView& source, float largest, Matrix& to, Exec& exec) {
  const WritableMatrix w = writable(to);
  const float top = to.view.format == WeightFormat::kF8 ? kF8Max : kI8Max;
  const float scale = std::max(largest, kTiniest) / top;
  *w.scale = scale;
  std::atomic<bool> finite{true};
  each_row(source, exec, [&](int64_t n, const float* row, int) {
    if (!all_finite(row, source.in)) finite = false;
    for (int64_t k = 0; k < source.in; ++k) {
      const float x = row[k] / scale;
      w.data[n * source.in + k] =
          to.view.format == WeightFormat::kF8
              ? float_to_f8e4m3(x)
              : static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(x)));
    }
  });
  return finite;
}

// Rows [begin, end) as floats -> their place in `to`. begin is a multiple of its block_out.
void quantize_band(const float* rows, int64_t begin, int64_t end, const MatrixView& to,
                   const WritableMatrix& w) {
  const int64_t in = to.in;
  switch (to.format) {
    case WeightFormat::kF8:
      return quantize_f8(rows, end - begin, in, to.block_in, w.data + begin * in,
                         w.scale + begin / to.block_out * to.scale_stride);
    case WeightFormat::kI8:
      return quantize_i8(rows, end - begin, in, to.block_in,
                         reinterpret_cast<int8_t*>(w.data) + begin * in,
                         w.scale + begin / to.block_out * to.scale_stride);
    case WeightFormat::kI4:
      for (int64_t n = begin; n < end; ++n) {
        quantize_i4(rows + (n - begin) * in, in, to.block_in, w.data + n * to.row_bytes(),
                    w.scale + n * to.scale_stride, w.zero ? w.zero + n * to.scale_stride : nullptr);
      }
      return;
    case WeightFormat::kFp4:
      for (int64_t n = begin; n < end; ++n) {
        quantize_fp4(rows + (n - begin) * in, in, to.global_scale, w.data + n * to.row_bytes(),
                     w.scale8 + n * (in / kFp4Group));
      }
      return;
    case WeightFormat::kBF16:
      std::transform(rows, rows + (end - begin) * in,
                     reinterpret_cast<uint16_t*>(w.data) + begin * in, float_to_bf16);
      return;
    case WeightFormat::kF16:
    case WeightFormat::kF32:
      return;  // nothing asks for these
  }
}

}  // namespace

Result<DescribedMatrix> describe(const QuantTarget& t, int32_t out, int32_t in) {
  DescribedMatrix matrix{.view = {.data = nullptr, .out = out, .in = in, .format = t.format},
                         .zero_points = t.format == WeightFormat::kI4 && t.zero_points};
  MatrixView& view = matrix.view;
  if (t.format == WeightFormat::kFp4 && in % kFp4Group != 0) {
    return invalid("NVFP4 keeps a scale per {} columns, but the matrix has {}", kFp4Group, in);
  }
  const bool blocks = t.format == WeightFormat::kF8 || t.format == WeightFormat::kI8 ||
                      t.format == WeightFormat::kI4;
  if (!blocks) return matrix;
  view.block_out = t.block_out > 0 ? t.block_out : out;
  view.block_in = t.block_in > 0 ? t.block_in : in;
  if (t.format == WeightFormat::kI4) {
    view.block_out = 1;
    if (t.block_in == 0) view.block_in = (in + kI4Step - 1) / kI4Step * kI4Step;
    if (kI4Step % view.block_in != 0 && view.block_in % kI4Step != 0) {
      return invalid("4-bit groups of {} columns are not supported (a divisor or a multiple of {})",
                     view.block_in, kI4Step);
    }
  }
  view.scale_stride = static_cast<int32_t>(block_count(in, view.block_in));
  return matrix;
}

Result<Matrix> allocate_matrix(const DescribedMatrix& described) {
  const MatrixView& d = described.view;
  const int64_t scales = d.block_out > 0 ? block_count(d.out, d.block_out) * d.scale_stride : 0;
  const int64_t zeros = described.zero_points ? scales : 0;
  const int64_t small = d.format == WeightFormat::kFp4 ? d.out * int64_t{d.in / kFp4Group} : 0;
  const int64_t columns = described.order ? d.in : 0;
  int64_t total = 0;
  for (const int64_t bytes : {d.bytes(), scales * 4, zeros * 4, small, columns * 4}) {
    total += (bytes + 63) / 64 * 64;
  }
  Matrix matrix{.view = d, .data = {}, .scales = {}};
  matrix.data = TRY(Buffer::allocate_packed(static_cast<size_t>(total)));
  int64_t used = 0;
  matrix.view.data = section(matrix.data, used, d.bytes());
  const auto floats = [&](int64_t n) {
    return n > 0 ? reinterpret_cast<const float*>(section(matrix.data, used, n * 4)) : nullptr;
  };
  matrix.view.scale = floats(scales);
  matrix.view.zero = floats(zeros);
  matrix.view.scale8 = small > 0 ? section(matrix.data, used, small) : nullptr;
  matrix.view.order =
      columns > 0 ? reinterpret_cast<const int32_t*>(section(matrix.data, used, columns * 4))
                  : nullptr;
  return matrix;
}

WritableMatrix writable(const Matrix& m) {
  return {.data = const_cast<uint8_t*>(static_cast<const uint8_t*>(m.view.data)),
          .scale = const_cast<float*>(m.view.scale),
          .zero = const_cast<float*>(m.view.zero),
          .scale8 = const_cast<uint8_t*>(m.view.scale8),
          .order = const_cast<int32_t*>(m.view.order)};
}

Result<Matrix> quantize(const MatrixView& source, const QuantTarget& target, Exec& exec) {
  Matrix matrix = TRY(allocate_matrix(TRY(describe(target, source.out, source.in))));
  const auto damaged = [] {
    return invalid("holds NaN or an infinity, which cannot be quantised; the file is damaged");
  };
  const bool per_tensor = target.block_out == 0 && target.format != WeightFormat::kI4;
  if (per_tensor && target.format != WeightFormat::kFp4) {
    if (!quantize_per_tensor(source, largest_magnitude(source, exec), matrix, exec))
      return damaged();
    return matrix;
  }
  if (target.format == WeightFormat::kFp4) {
    matrix.view.global_scale = fp4_global_scale(largest_magnitude(source, exec));
  }
  const WritableMatrix w = writable(matrix);
  const int64_t band = matrix.view.block_out > 1 ? matrix.view.block_out : kBandRows;
  std::atomic<bool> finite{true};
  exec.parallel(block_count(source.out, band), [&](Range bands, int) {
    std::vector<float> rows(static_cast<size_t>(band * source.in));
    for (int64_t b = bands.begin; b < bands.end; ++b) {
      const int64_t begin = b * band;
      const int64_t end = std::min<int64_t>(begin + band, source.out);
      dequantize(source, begin, end, rows.data());
      if (!all_finite(rows.data(), (end - begin) * source.in)) finite = false;
      if (matrix.view.block_out > 1) {
        quantize_band(rows.data(), begin, end, matrix.view, w);
      } else {
        for (int64_t n = begin; n < end; ++n) {
          quantize_band(rows.data() + (n - begin) * source.in, n, n + 1, matrix.view, w);
        }
      }
    }
  });
  if (!finite && target.format != WeightFormat::kBF16) return damaged();
  return matrix;
}

void quantize_f8(const float* rows, int64_t count, int64_t in, int64_t block_in, uint8_t* codes,
                 float* scales) {
  each_block(rows, count, in, block_in, kF8Max, scales,
             [&](int64_t first, int64_t size, float scale) {
               for (int64_t i = first; i < first + size; ++i) {
                 codes[i] = float_to_f8e4m3(rows[i] / scale);
               }
             });
}

void quantize_i8(const float* rows, int64_t count, int64_t in, int64_t block_in, int8_t* codes,
                 float* scales) {
  each_block(rows, count, in, block_in, kI8Max, scales,
             [&](int64_t first, int64_t size, float scale) {
               for (int64_t i = first; i < first + size; ++i) {
                 codes[i] = static_cast<int8_t>(std::nearbyint(rows[i] / scale));
               }
             });
}

void quantize_i4(const float* row, int64_t in, int64_t group, uint8_t* codes, float* scales,
                 float* zeros) {
  constexpr float kSmallest = 1e-6f;
  std::fill_n(codes, (in + 1) / 2, uint8_t{0});
  for (int64_t first = 0, g = 0; first < in; first += group, ++g) {
    const int64_t end = std::min(first + group, in);
    float scale, zero = 8;
    if (zeros) {
      float low = 0, high = 0;
      for (int64_t k = first; k < end; ++k) {
        low = std::min(low, row[k]);
        high = std::max(high, row[k]);
      }
      scale = std::max(high - low, kSmallest) / 15;
      zero = std::clamp(std::nearbyint(-low / scale), 0.0f, 15.0f);
      zeros[g] = zero;
    } else {
      scale = std::max(largest_of(row + first, end - first), kSmallest) / 7;
    }
    scale = std::max(f16_to_float(float_to_f16(scale)), 0x1p-24f);
    scales[g] = scale;
    for (int64_t k = first; k < end; ++k) {
      const float code = std::clamp(std::nearbyint(row[k] / scale + zero), 0.0f, 15.0f);
      codes[k / 2] |= static_cast<uint8_t>(static_cast<int>(code) << (k % 2 * 4));
    }
  }
}

void quantize_fp4(const float* row, int64_t in, float global_scale, uint8_t* codes,
                  uint8_t* scale8) {
  for (int64_t g = 0; g < in / kFp4Group; ++g) {
    const float* x = row + g * kFp4Group;
    scale8[g] = float_to_f8e4m3(largest_of(x, kFp4Group) / kFp4Max / global_scale);
    const float full = f8e4m3_to_float(scale8[g]) * global_scale;
    const float inverse = full > 0 ? 1 / full : 0;
    for (int64_t i = 0; i < kFp4Group; i += 2) {
      const uint8_t even = float_to_f4e2m1(x[i] * inverse);
      const uint8_t odd = float_to_f4e2m1(x[i + 1] * inverse);
      codes[(g * kFp4Group + i) / 2] = static_cast<uint8_t>(even | odd << 4);
    }
  }
}

float fp4_global_scale(float largest) {
  return std::max(largest, kTiniest) / (kFp4Max * kF8Max);
}

float largest_magnitude(const MatrixView& matrix, Exec& exec) {
  std::vector<float> of_thread(static_cast<size_t>(exec.threads()), 0.0f);
  each_row(matrix, exec, [&](int64_t, const float* row, int thread) {
    float& largest = of_thread[static_cast<size_t>(thread)];
    largest = largest_of(row, matrix.in, largest);
  });
  return *std::max_element(of_thread.begin(), of_thread.end());
}

bool is_finite(const MatrixView& matrix, Exec& exec) {
  std::atomic<bool> finite{true};
  each_row(matrix, exec, [&](int64_t, const float* row, int) {
    if (!all_finite(row, matrix.in)) finite = false;
  });
  return finite;
}

}  // namespace fathom
