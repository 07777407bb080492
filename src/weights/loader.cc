#include "weights/loader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "base/units.h"

namespace fathom {
namespace {

constexpr size_t kMaxProblemsShown = 20;
constexpr auto kLogInterval = std::chrono::seconds(3);

}  // namespace

void PackingProgress::done(const char* what, int64_t bytes) {
  what_ = what;
  bytes_ += bytes;
  ++done_;
  const auto now = Clock::now();
  if (now - last_ < kLogInterval) return;
  last_ = now;
  log::info("{} weights: {} of {} layers ({:.0f} %), {:.2f} GB", what, done_, layers_,
            100.0 * static_cast<double>(done_) / static_cast<double>(std::max(layers_, done_)),
            static_cast<double>(bytes_) / kGiB);
}

void PackingProgress::finish() {
  if (done_ == 0) return;
  log::info("{} weights: {} layers, {:.2f} GB in {:.1f} s", what_, done_,
            static_cast<double>(bytes_) / kGiB,
            std::chrono::duration<double>(Clock::now() - start_).count());
}

CheckpointLoader::CheckpointLoader(const Checkpoint& checkpoint, const QuantConfig& config,
                                   const QuantPlan& plan, const FormatSurvey& survey, Exec& exec)
    : checkpoint_(checkpoint), config_(config), plan_(plan), exec_(exec), progress_([&] {
        int64_t layers = 0;
        for (const auto& [name, seen] : survey.formats) layers += seen.linears;
        return layers;
      }()) {}

void CheckpointLoader::problem(std::string message) {
  ++problem_count_;
  if (problems_.size() < kMaxProblemsShown) problems_.push_back(std::move(message));
}

void CheckpointLoader::missing(const std::string& prefix, int32_t out, int32_t in,
                               const char* allowed) {
  const std::string name = prefix + ".weight";
  visited_.insert(name);
  const StoredTensor* weight = checkpoint_.find(name);
  if (!weight) return problem(fmt::format("{} [{}, {}] is missing", name, out, in));
  problem(fmt::format("{}: {}: expected {} [{}, {}], found {}", weight->file->path, name, allowed,
                      out, in, weight->describe()));
}

void CheckpointLoader::load(const Format& format, const std::string& prefix, int32_t out,
                            int32_t in, Matrix& matrix) {
  for (const std::string_view part : linear_parts()) {
    visited_.insert(fmt::format("{}.{}", prefix, part));
  }
  Result<Matrix> loaded = load_linear(format, {checkpoint_, prefix, out, in, config_}, exec_);
  if (!loaded) return problem(loaded.error().message);
  matrix = std::move(*loaded);
}

void CheckpointLoader::quantize_loaded(const std::string& prefix, const QuantTarget& target,
                                       Matrix& matrix) {
  if (!matrix.view.data) return;  // already reported
  Result<Matrix> quantized = quantize(matrix.view, target, exec_);
  if (!quantized) {
    matrix = {};
    return problem(fmt::format("{}: {}", prefix, quantized.error().message));
  }
  matrix = std::move(*quantized);
}

void CheckpointLoader::linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return missing(prefix, out, in, "BF16, F16, F32, F8_E4M3 or I8");
  load(*format, prefix, out, in, matrix);
  if (plan_.converts(*format)) {
    quantize_loaded(prefix, *plan_.on_load, matrix);
    progress_.done("Quantizing", matrix.owned_bytes());
    checkpoint_.release(prefix);
  } else if (matrix.data.size() > 0 && !format->name.empty()) {
    progress_.done("Repacking", matrix.owned_bytes());
    checkpoint_.release(prefix);
    if (matrix.view.format != WeightFormat::kBF16) return;
    ++unpacked_layers_;
    unpacked_bytes_ += matrix.owned_bytes();
  }
}

void CheckpointLoader::source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return missing(prefix, out, in, "BF16, F16, F32, F8_E4M3 or I8");
  load(*format, prefix, out, in, matrix);
}

void CheckpointLoader::table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return missing(prefix, out, in, "BF16, F16 or F32");
  load(*format, prefix, out, in, matrix);
  if (format->name.empty() || !matrix.view.data) return;
  // Some writers quantise the embedding too.
  Result<Matrix> unpacked = quantize(matrix.view, {WeightFormat::kBF16}, exec_);
  checkpoint_.release(prefix);
  if (!unpacked) return problem(unpacked.error().message);
  matrix = std::move(*unpacked);
}

void CheckpointLoader::router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  Matrix stored;
  table(prefix, out, in, stored);
  if (!stored.view.data) return;  // already reported
  Result<Buffer> data =
      Buffer::allocate_packed(size_t{4} * static_cast<size_t>(out) * static_cast<size_t>(in));
  if (!data) return problem(data.error().message);
  matrix.data = std::move(*data);
  dequantize(stored.view, 0, out, matrix.data.as<float>());
  matrix.view = {.data = matrix.data.data(), .out = out, .in = in, .format = WeightFormat::kF32};
}

void CheckpointLoader::head(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
  source(prefix, out, in, matrix);
  if (plan_.head) quantize_loaded(prefix, *plan_.head, matrix);
  if (matrix.data.size() > 0) checkpoint_.release(prefix);  // a copy: the file is not read again
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

void CheckpointLoader::kv_scale(const std::string& prefix, float& scale) {
  // ModelOpt's names, then compressed-tensors'. Keys and values are one latent row here, so the
  // larger one serves both.
  float largest = 0;
  for (const char* part : {"k_proj.k_scale", "v_proj.v_scale", "k_scale", "v_scale", "kv_scale"}) {
    const std::string name = prefix + part;
    const StoredTensor* tensor = checkpoint_.find(name);
    if (!tensor) continue;
    visited_.insert(name);
    const Result<Vector> value = to_floats(*tensor, name);
    if (!value) {
      problem(value.error().message);
    } else if (value->size() != 1 || !std::isfinite((*value)[0]) || (*value)[0] <= 0) {
      problem(fmt::format("{}: {}: expected one positive number, found {}{}", tensor->file->path,
                          name, tensor->describe(),
                          value->size() == 1 ? fmt::format(" with {}", (*value)[0]) : ""));
    } else {
      largest = std::max(largest, (*value)[0]);
    }
  }
  scale = largest > 0 ? largest : 1;
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

void CheckpointLoader::finish() {
  progress_.finish();
  if (unpacked_layers_ == 0) return;
  log::info(
      "{} layers have codes that no kernel multiplies (8-bit zero points, irregular groups, rare "
      "GGUF "
      "types): unpacked to BF16, {:.2f} GB",
      unpacked_layers_, static_cast<double>(unpacked_bytes_) / kGiB);
}

int64_t unpacked_bytes(WeightFormat source, int32_t out, int32_t in) {
  return int64_t{out} * in * (unpacked_format(source) == WeightFormat::kF32 ? 4 : 2);
}

void StoredCounter::linear(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return;
  const auto described = plan_.converts(*format)
                             ? describe(*plan_.on_load, out, in)
                             : format->describe({checkpoint_, prefix, out, in, config_});
  if (described) bytes += matrix_bytes(*described);
}

void StoredCounter::source(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return;
  const auto described = format->describe({checkpoint_, prefix, out, in, config_});
  if (described) bytes += unpacked_bytes(described->view.format, out, in);
}

void StoredCounter::head(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return;
  const auto described = plan_.head ? describe(*plan_.head, out, in)
                                    : format->describe({checkpoint_, prefix, out, in, config_});
  if (described) bytes += matrix_bytes(*described);
}

void StoredCounter::table(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return;
  const auto described = format->describe({checkpoint_, prefix, out, in, config_});
  if (!described) return;
  const bool plain = format->name.empty();
  bytes += plain ? matrix_bytes(*described) : unpacked_bytes(WeightFormat::kBF16, out, in);
}

}  // namespace fathom
