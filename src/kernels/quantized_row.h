// An input row as the integer kernels want it, and the one sum that they all compute.
//
// A weight's columns fall into units whose products are summed exactly, as integers: its groups, at
// most 128 columns, or the whole row where one scale serves it. What follows is FP32, per output,
// in an order that follows from the column alone, so every target and every tile shape gives the
// same bits:
//   whole row: y = (ws * xs) * float(dot)
//   units:     total[chain(u)] = fma(ws[u] * xs[step(u)], fma(-zero[u], sum[u], dot[u]), total)
//              y = (total[0] + total[2]) + (total[1] + total[3]), or fewer chains where units are
//              wide
// with dot[u] the sum of weight code x input code and sum[u] the sum of input codes.
//
// In memory: codes int8 [steps * 128] | scales float [steps or 1] | sums [units], float (int32 for
// a whole row); all padded with zeros to whole steps. Plain data: files compiled with ISA flags
// include this, so everything is static.
#pragma once

#include <cstdint>

#include "kernels/matrix.h"

namespace fathom {

inline constexpr int32_t kQuantStep = 128;  // columns that share a scale of the input

struct QuantLayout {
  int32_t in = 0;
  int32_t unit = 0;    // 16, 32, 64 or 128 columns; 0: the whole row
  bool split = false;  // codes of a step: even columns, then odd ones, as 4-bit weights unpack

  bool operator==(const QuantLayout&) const = default;
};

// Where the parts of a row begin, in bytes.
static inline int64_t quant_steps(const QuantLayout& q) {
  return (int64_t{q.in} + kQuantStep - 1) / kQuantStep;
}
static inline int64_t quant_units(const QuantLayout& q) {
  return q.unit == 0 ? 1 : quant_steps(q) * (kQuantStep / q.unit);
}
static inline int64_t quant_scales_at(const QuantLayout& q) {
  return quant_steps(q) * kQuantStep;
}
static inline int64_t quant_sums_at(const QuantLayout& q) {
  return quant_scales_at(q) + 4 * (q.unit == 0 ? 1 : quant_steps(q));
}
static inline int64_t quant_row_bytes(const QuantLayout& q) {
  return (quant_sums_at(q) + 4 * quant_units(q) + 63) / 64 * 64;
}

// Sums that go round, so that narrow units need no sums across lanes: unit u of a step adds to
// chain u * unit / max(unit, 32).
static inline int32_t quant_chains(int32_t unit) {
  return unit == 0 ? 1 : kQuantStep / (unit < 32 ? 32 : unit);
}

// Whether the integer kernels take this matrix; if not (a group of odd size), the float ones do.
static inline bool takes_integers(const MatrixView& w) {
  const bool narrow = w.block_in == 16 || w.block_in == 32 || w.block_in == 64;
  const bool wide = w.block_in % kQuantStep == 0 || w.block_in >= w.in;
  return w.format == WeightFormat::kFp4 ||
         ((w.format == WeightFormat::kI8 || w.format == WeightFormat::kI4) && (narrow || wide));
}

static inline QuantLayout quant_layout(const MatrixView& w) {
  const bool split = w.format != WeightFormat::kI8;
  if (w.format == WeightFormat::kFp4) return {w.in, 16, split};
  if (!split && w.block_in >= w.in) return {w.in, 0, split};
  return {w.in, w.block_in < kQuantStep && w.block_in < w.in ? w.block_in : kQuantStep, split};
}

// Parts of row r. x_stride: bytes.
struct QuantRow {
  const int8_t* codes;
  const float* scales;
  const float* sums;
  static inline QuantRow at(const QuantLayout& q, const void* x, int64_t x_stride, int64_t r) {
    const int8_t* row = static_cast<const int8_t*>(x) + r * x_stride;
    return {row, reinterpret_cast<const float*>(row + quant_scales_at(q)),
            reinterpret_cast<const float*>(row + quant_sums_at(q))};
  }
};

}  // namespace fathom
