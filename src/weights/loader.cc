#include "weights/loader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/float_formats.h"

namespace fathom {
namespace {

constexpr size_t kMaxProblemsShown = 20;

// A well-mixed 64-bit hash (the finaliser of SplitMix64).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Calls write(i, bits) with 16 random bits for each element i of these rows.
template <class Write>
void for_each_random(Range rows, int64_t in, uint64_t key, Write&& write) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t k = 0; k < in; k += 4) {
      const int64_t first = row * in + k;
      const uint64_t random = mix(key ^ static_cast<uint64_t>(first));
      for (int64_t i = 0; i < std::min<int64_t>(4, in - k); ++i) {
        write(first + i, static_cast<uint16_t>(random >> (16 * i)));
      }
    }
  }
}

// Fills rows with uniform numbers in [-scale, scale]. FP8: with codes of magnitude below 2; the
// block scale does the rest.
void fill_rows(WeightFormat format, std::byte* data, Range rows, int64_t in, uint64_t key,
               float scale) {
  const auto value = [scale](uint16_t bits) {
    return (static_cast<float>(bits) / 32767.5f - 1.0f) * scale;
  };
  float* floats = reinterpret_cast<float*>(data);
  uint16_t* halves = reinterpret_cast<uint16_t*>(data);
  uint8_t* codes = reinterpret_cast<uint8_t*>(data);
  switch (format) {
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
  }
}

// A matrix as BF16.
Result<Matrix> unpack(const MatrixView& stored) {
  Matrix matrix;
  matrix.view = {
      .data = nullptr, .out = stored.out, .in = stored.in, .format = WeightFormat::kBF16};
  matrix.data = TRY(Buffer::allocate(static_cast<size_t>(matrix.view.bytes())));
  matrix.view.data = matrix.data.data();
  uint16_t* to = matrix.data.as<uint16_t>();
  Vector row(static_cast<size_t>(stored.in));
  for (int64_t r = 0; r < stored.out; ++r, to += stored.in) {
    dequantize(stored, r, r + 1, row.data());
    std::ranges::transform(row, to, float_to_bf16);
  }
  return matrix;
}

int64_t block_count(int64_t n, int64_t block) {
  return (n + block - 1) / block;
}

}  // namespace

void CheckpointLoader::problem(std::string message) {
  ++problem_count_;
  if (problems_.size() < kMaxProblemsShown) problems_.push_back(std::move(message));
}

void CheckpointLoader::load(const Format& format, const std::string& prefix, int32_t out,
                            int32_t in, Matrix& matrix) {
  std::vector<std::string> names;
  format.names(prefix, names);
  visited_.insert(names.begin(), names.end());
  Result<Matrix> loaded = format.load(checkpoint_, prefix, out, in, hints_);
  if (loaded) {
    matrix = std::move(*loaded);
  } else {
    problem(loaded.error().message);
  }
}

void CheckpointLoader::linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (format) {
    formats_seen_.insert(format->name);
    return load(*format, prefix, out, in, matrix);
  }
  const std::string name = prefix + ".weight";
  visited_.insert(name);
  const StoredTensor* weight = checkpoint_.find(name);
  if (weight) {
    problem(fmt::format("{}: {}: expected BF16, F16, F32 or F8_E4M3 [{}, {}], found {}",
                        weight->file->path, name, out, in, weight->describe()));
  } else {
    problem(fmt::format("{} [{}, {}] is missing", name, out, in));
  }
}

void CheckpointLoader::table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  if (kPlainFormat.claims(checkpoint_, prefix)) return load(kPlainFormat, prefix, out, in, matrix);
  if (const Format* format = detect_format(checkpoint_, prefix)) {
    Matrix stored;
    load(*format, prefix, out, in, stored);
    if (!stored.view.data) return;  // already reported
    Result<Matrix> unpacked = unpack(stored.view);
    if (!unpacked) return problem(unpacked.error().message);
    matrix = std::move(*unpacked);
    return;
  }
  visited_.insert(prefix + ".weight");
  const StoredTensor* weight = checkpoint_.find(prefix + ".weight");
  if (!weight) return problem(fmt::format("{}.weight [{}, {}] is missing", prefix, out, in));
  problem(fmt::format("{}: {}.weight: expected BF16, F16 or F32 [{}, {}], found {}",
                      weight->file->path, prefix, out, in, weight->describe()));
}

void CheckpointLoader::router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  Matrix stored;
  table(prefix, out, in, stored);
  if (!stored.view.data) return;  // already reported
  Result<Buffer> data =
      Buffer::allocate(size_t{4} * static_cast<size_t>(out) * static_cast<size_t>(in));
  if (!data) return problem(data.error().message);
  matrix.data = std::move(*data);
  dequantize(stored.view, 0, out, matrix.data.as<float>());
  matrix.view = {.data = matrix.data.data(), .out = out, .in = in, .format = WeightFormat::kF32};
}

void CheckpointLoader::vector(const std::string& name, int32_t n, Vector& vector) {
  visited_.insert(name);
  const StoredTensor* tensor = checkpoint_.find(name);
  if (!tensor) return problem(fmt::format("{} [{}] is missing", name, n));
  if (tensor->shape != std::vector<int64_t>{n}) {
    return problem(fmt::format("{}: {}: expected [{}], found {}", tensor->file->path, name, n,
                               tensor->describe()));
  }
  Result<Vector> values = to_floats(*tensor, name);
  if (!values) return problem(values.error().message);
  vector = std::move(*values);
}

Status CheckpointLoader::status(const std::string& location) const {
  if (problem_count_ == 0) return {};
  std::string more;
  if (problem_count_ > static_cast<int64_t>(problems_.size())) {
    more =
        fmt::format("\n  ... and {} more", problem_count_ - static_cast<int64_t>(problems_.size()));
  }
  return invalid("{}: the checkpoint does not match its config.json, {} problem(s):\n  {}{}",
                 location, problem_count_, fmt::join(problems_, "\n  "), more);
}

std::vector<std::string> CheckpointLoader::unvisited() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    if (!visited_.contains(name)) names.push_back(name);
  }
  return names;
}

void DummyLoader::fill(WeightFormat format, int32_t out, int32_t in, Matrix& matrix) {
  if (!status_) return;
  matrix.view = {.data = nullptr, .out = out, .in = in, .format = format};
  Result<Buffer> data = Buffer::allocate(static_cast<size_t>(matrix.view.bytes()));
  if (!data) {
    status_ = std::unexpected(data.error());
    return;
  }
  matrix.data = std::move(*data);
  matrix.view.data = matrix.data.data();
  const uint64_t key = mix(seed_ ^ mix(++next_));
  const float scale = std::sqrt(3.0f / static_cast<float>(in));
  exec_.parallel(
      out, [&](Range rows, int) { fill_rows(format, matrix.data.data(), rows, in, key, scale); });
  if (format != WeightFormat::kF8) return;
  const int64_t columns = block_count(in, hints_.block_in);
  const int64_t blocks = block_count(out, hints_.block_out) * columns;
  Result<Buffer> scales = Buffer::allocate(static_cast<size_t>(blocks) * sizeof(float));
  if (!scales) {
    status_ = std::unexpected(scales.error());
    return;
  }
  matrix.scales = std::move(*scales);
  constexpr float kCodesRms = 0.6f;  // of the codes that fill_rows makes
  std::fill_n(matrix.scales.as<float>(), blocks,
              1.0f / (kCodesRms * std::sqrt(static_cast<float>(in))));
  matrix.view.scale = matrix.scales.as<float>();
  matrix.view.block_out = hints_.block_out;
  matrix.view.block_in = hints_.block_in;
  matrix.view.scale_stride = static_cast<int32_t>(columns);
}

void DummyLoader::linear(const std::string&, int32_t out, int32_t in, Matrix& matrix) {
  fill(format_.matrix, out, in, matrix);
}
void DummyLoader::table(const std::string&, int32_t out, int32_t in, Matrix& matrix) {
  fill(WeightFormat::kBF16, out, in, matrix);
}
void DummyLoader::router(const std::string&, int32_t out, int32_t in, Matrix& matrix) {
  fill(WeightFormat::kF32, out, in, matrix);
}
void DummyLoader::vector(const std::string& name, int32_t n, Vector& vector) {
  vector.assign(static_cast<size_t>(n), name.ends_with("bias") ? 0.0f : 1.0f);
}

int64_t unpacked_bytes(WeightFormat source, int32_t out, int32_t in) {
  return int64_t{out} * in * (unpacked_format(source) == WeightFormat::kF32 ? 4 : 2);
}

void DummyCounter::linear(const std::string&, int32_t out, int32_t in, Matrix&) {
  MatrixView view{.data = nullptr, .out = out, .in = in, .format = format_.matrix};
  view.block_out = hints_.block_out;
  view.block_in = hints_.block_in;
  view.scale_stride = static_cast<int32_t>(block_count(in, hints_.block_in));
  bytes += matrix_bytes(view);
}

void StoredCounter::linear(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return;
  if (format->bytes) {
    bytes += format->bytes(checkpoint_, prefix, out, in);
    return;
  }
  std::vector<std::string> names;
  format->names(prefix, names);
  for (const std::string& name : names) {
    const StoredTensor* tensor = checkpoint_.find(name);
    if (tensor) bytes += static_cast<int64_t>(tensor->bytes.size());
  }
}

void StoredCounter::table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  if (kPlainFormat.claims(checkpoint_, prefix)) return linear(prefix, out, in, matrix);
  bytes += int64_t{2} * out * in;
}

void StoredCounter::source(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const StoredTensor* weight = checkpoint_.find(prefix + ".weight");
  if (!weight) return;
  const bool wide = weight->dtype == DType::kF32 || weight->dtype == DType::kF16;
  bytes += unpacked_bytes(wide ? WeightFormat::kF32 : WeightFormat::kBF16, out, in);
}

}  // namespace fathom
