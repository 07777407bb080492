#include "weights/dummy.h"

#include <algorithm>
#include <cmath>

#include "base/mix_bits.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"
#include "weights/loader.h"

namespace fathom {
namespace {

// Calls write(i, bits) with 16 random bits for each element i of these rows.
template <class Write>
void for_each_random(Range rows, int64_t in, uint64_t key, Write&& write) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t k = 0; k < in; k += 4) {
      const int64_t first = row * in + k;
      const uint64_t random = mix_bits(key ^ static_cast<uint64_t>(first));
      for (int64_t i = 0; i < std::min<int64_t>(4, in - k); ++i) {
        write(first + i, static_cast<uint16_t>(random >> (16 * i)));
      }
    }
  }
}

// Root mean square of the uniform codes that fill_rows makes, in units of the scale.
float codes_rms(const QuantTarget& target) {
  switch (target.format) {
    case WeightFormat::kF8:
      return 0.6f;  // magnitudes below 2
    case WeightFormat::kI8:
      return 73.9f;
    case WeightFormat::kI4:
      return target.zero_points ? 4.61f : 4.18f;
    case WeightFormat::kFp4:
      return 2.926f;
    default:
      return 1;
  }
}

// Fills rows with uniform numbers in [-scale, scale], or with uniform codes.
void fill_rows(const MatrixView& view, std::byte* data, Range rows, uint64_t key, float scale) {
  const int64_t in = view.in;
  const auto value = [scale](uint16_t bits) {
    return (static_cast<float>(bits) / 32767.5f - 1.0f) * scale;
  };
  float* floats = reinterpret_cast<float*>(data);
  uint16_t* halves = reinterpret_cast<uint16_t*>(data);
  uint8_t* codes = reinterpret_cast<uint8_t*>(data);
  switch (view.format) {
    case WeightFormat::kF32:
      return for_each_random(rows, in, key,
                             [&](int64_t i, uint16_t bits) { floats[i] = value(bits); });
    case WeightFormat::kF16:
      return for_each_random(
          rows, in, key, [&](int64_t i, uint16_t bits) { halves[i] = float_to_f16(value(bits)); });
    case WeightFormat::kBF16:
      return for_each_random(
          rows, in, key, [&](int64_t i, uint16_t bits) { halves[i] = float_to_bf16(value(bits)); });
    case WeightFormat::kF8:
      return for_each_random(rows, in, key, [&](int64_t i, uint16_t bits) {
        codes[i] = static_cast<uint8_t>(bits & 0xbf);
      });
    case WeightFormat::kI8:
      return for_each_random(
          rows, in, key, [&](int64_t i, uint16_t bits) { codes[i] = static_cast<uint8_t>(bits); });
    case WeightFormat::kI4:
    case WeightFormat::kFp4: {
      const int64_t used = (in + 1) / 2;  // bytes of a row that hold codes
      const bool symmetric = view.format == WeightFormat::kI4 && !view.zero;
      return for_each_random(rows, used, key, [&](int64_t i, uint16_t bits) {
        const bool half = in % 2 == 1 && i % used == used - 1;
        uint8_t code = static_cast<uint8_t>(half ? bits & 15 : bits);
        // Without zero points 0 is -8, which nothing balances.
        if (symmetric && (code & 0x0f) == 0) code |= 0x08;
        if (symmetric && (code & 0xf0) == 0 && !half) code |= 0x80;
        codes[i / used * view.row_bytes() + i % used] = code;
      });
    }
  }
}

}  // namespace

void DummyLoader::fill(const std::string& prefix, const QuantTarget& target, int32_t out,
                       int32_t in, Matrix& matrix) {
  if (!status_) return;
  const auto fail_with = [&](const Error& error) {
    status_ = std::unexpected(Error{error.code, prefix + ": " + error.message});
  };
  const auto described = describe(target, out, in);
  if (!described) return fail_with(described.error());
  Result<Matrix> allocated = allocate_matrix(*described);
  if (!allocated) return fail_with(allocated.error());
  matrix = std::move(*allocated);
  const uint64_t key = mix_bits(seed_ ^ mix_bits(++next_));
  const float unit = 1.0f / (codes_rms(target) * std::sqrt(static_cast<float>(in)));
  const float range = std::sqrt(3.0f / static_cast<float>(in));
  const WritableMatrix w = writable(matrix);
  exec_.parallel(out, [&](Range rows, int) {
    fill_rows(matrix.view, reinterpret_cast<std::byte*>(w.data), rows, key, range);
  });
  const MatrixView& view = matrix.view;
  const int64_t scales =
      w.scale ? (int64_t{out} + view.block_out - 1) / view.block_out * view.scale_stride : 0;
  std::fill_n(w.scale, scales, unit);
  if (w.zero) std::fill_n(w.zero, scales, 7.5f);  // the middle of 0 ... 15
  constexpr uint8_t kOne = 0x38;                  // in e4m3
  if (w.scale8) std::fill_n(w.scale8, int64_t{out} * (in / 16), kOne);
  matrix.view.global_scale = unit;
}

void DummyLoader::linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  fill(prefix, config_.excludes(prefix) ? QuantTarget{} : target_, out, in, matrix);
}
void DummyLoader::table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  fill(prefix, {WeightFormat::kBF16}, out, in, matrix);
}
void DummyLoader::router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  fill(prefix, {WeightFormat::kF32}, out, in, matrix);
}
void DummyLoader::vector(const std::string& name, int32_t n, Vector& vector) {
  vector.assign(static_cast<size_t>(n), name.ends_with("bias") ? 0.0f : 1.0f);
}

void DummyCounter::linear(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const auto described = describe(config_.excludes(prefix) ? QuantTarget{} : target_, out, in);
  if (described) bytes += matrix_bytes(*described);
}

void DummyCounter::head(const std::string&, int32_t out, int32_t in, Matrix&) {
  const auto described = describe(head_, out, in);
  if (described) bytes += matrix_bytes(*described);
}

void DummyCounter::source(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  bytes += unpacked_bytes(config_.excludes(prefix) ? WeightFormat::kBF16 : target_.format, out, in);
}

}  // namespace fathom
