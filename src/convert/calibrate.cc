#include "convert/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "base/log.h"
#include "convert/int4.h"
#include "text/tokenizer.h"
#include "weights/formats/format.h"

namespace fathom::convert {
namespace {

constexpr size_t kChunk = 512;  // tokens that see each other
constexpr size_t kMostTokens = 16384;
constexpr int64_t kSampledRows = 64;  // of each matrix, to judge an exponent

// Sums over the rows of a norm's output.
struct Sums {
  std::vector<float> weight;  // of the norm
  std::vector<double> magnitude, square;
  int64_t rows = 0;

  // x: rows of the residual stream, before the norm.
  void add(const float* x, int32_t count, int32_t n, float eps) {
    for (int32_t t = 0; t < count; ++t, x += n) {
      double squares = 0;
      for (int32_t k = 0; k < n; ++k) squares += double{x[k]} * x[k];
      const double inverse = 1 / std::sqrt(squares / n + eps);
      for (int32_t k = 0; k < n; ++k) {
        const double y = x[k] * inverse * weight[static_cast<size_t>(k)];
        magnitude[static_cast<size_t>(k)] += std::abs(y);
        square[static_cast<size_t>(k)] += y * y;
      }
    }
    rows += count;
  }
};

std::string norm_name(int32_t layer, bool attention) {
  return fmt::format("model.layers.{}.{}.weight", layer,
                     attention ? "input_layernorm" : "post_attention_layernorm");
}

Result<std::map<std::string, Sums>> empty_sums(const Source& source) {
  std::map<std::string, Sums> sums;
  for (int32_t l = 0; l < source.config.layers; ++l) {
    for (const bool attention : {true, false}) {
      const std::string name = norm_name(l, attention);
      const StoredTensor* norm = source.checkpoint->find(name);
      if (!norm) return invalid("{} is missing", name);
      Sums& entry = sums[name];
      entry.weight = TRY(to_floats(*norm, name));
      entry.magnitude.assign(entry.weight.size(), 0);
      entry.square.assign(entry.weight.size(), 0);
    }
  }
  return sums;
}

Result<std::vector<int32_t>> tokens_of(const Source& source, const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(ErrorCode::kNotFound, "--calibration {}: cannot read it", path.string());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto tokenizer = TRY(Tokenizer::load(*source.files));
  std::vector<int32_t> tokens = TRY(tokenizer->encode(text, /*add_special=*/true));
  if (tokens.size() < kChunk) {
    return invalid("--calibration {}: {} tokens are too few to learn from, give at least {}",
                   path.string(), tokens.size(), kChunk);
  }
  if (tokens.size() > kMostTokens) tokens.resize(kMostTokens);
  for (const int32_t id : tokens) {
    if (id >= source.config.vocab_size) {
      return invalid("the tokenizer's id {} is outside the model's vocabulary of {}", id,
                     source.config.vocab_size);
    }
  }
  return tokens;
}

// The model reads the tokens, a chunk after the other.
Status read_tokens(const Source& source, std::span<const int32_t> tokens, Exec& exec,
                   std::map<std::string, Sums>& sums) {
  const ModelConfig& c = source.config;
  const auto compute = TRY(Compute::create(exec, runnable_targets().back()));
  const auto model =
      TRY(load_model(c, *source.files, {.max_positions = static_cast<int32_t>(kChunk)}, *compute));
  KvPool kv = TRY(KvPool::allocate(c, KvFormat::kBF16, kChunk));
  Arena arena(TRY(
      Buffer::allocate(static_cast<size_t>(scratch_bytes(c, static_cast<int32_t>(kChunk))))));
  model->set_tap(
      [&](std::string_view name, int32_t layer, const float* x, int32_t rows, int32_t n) {
        const bool attention = name == "layer_input";
        if ((!attention && name != "attention_out") || layer >= c.layers) return;
        sums.at(norm_name(layer, attention)).add(x, rows, n, c.rms_eps);
      });
  std::vector<int32_t> places(kChunk);
  for (size_t i = 0; i < kChunk; ++i) places[i] = static_cast<int32_t>(i);
  for (size_t begin = 0; begin < tokens.size(); begin += kChunk) {
    const auto chunk = tokens.subspan(begin, std::min(kChunk, tokens.size() - begin));
    const std::span<const int32_t> rows = std::span(places).first(chunk.size());
    const SequenceRows sequence{0, static_cast<int32_t>(chunk.size()), 0, rows.data()};
    model->forward({chunk, rows, rows, {&sequence, 1}, {}}, kv, *compute, arena, nullptr);
  }
  return {};
}

// mean^exponent, balanced around 1, as powers of two.
std::vector<float> scales_of(const Sums& sums, double exponent) {
  std::vector<double> raw(sums.magnitude.size());
  double low = INFINITY, high = 0;
  for (size_t k = 0; k < raw.size(); ++k) {
    const double mean = std::max(sums.magnitude[k] / static_cast<double>(sums.rows), 1e-6);
    raw[k] = std::pow(mean, exponent);
    low = std::min(low, raw[k]);
    high = std::max(high, raw[k]);
  }
  std::vector<float> scales(raw.size());
  for (size_t k = 0; k < raw.size(); ++k) {
    const double power = std::round(std::log2(raw[k] / std::sqrt(low * high)));
    scales[k] = static_cast<float>(std::exp2(std::clamp(power, -8.0, 8.0)));
  }
  return scales;
}

// Error of some rows of a matrix that is scaled, rounded and scaled back, weighted by its inputs.
double error_of(const MatrixView& w, const ChannelScales& c, int64_t group, Exec& exec) {
  const int64_t step = std::max<int64_t>(1, w.out / kSampledRows);
  std::vector<double> errors(static_cast<size_t>((w.out + step - 1) / step), 0);
  exec.parallel(static_cast<int64_t>(errors.size()), [&](Range range, int) {
    std::vector<float> row(static_cast<size_t>(w.in)), importance(static_cast<size_t>(w.in));
    std::vector<uint8_t> codes(static_cast<size_t>(group));
    for (int64_t i = range.begin; i < range.end; ++i) {
      dequantize(w, i * step, i * step + 1, row.data());
      for (size_t k = 0; k < row.size(); ++k) {
        row[k] *= c.scale[k];
        importance[k] = c.importance[k] / (c.scale[k] * c.scale[k]);
      }
      for (int64_t g = 0; g + group <= w.in; g += group) {
        errors[static_cast<size_t>(i)] +=
            quantize_int4_group(row.data() + g, group, importance.data() + g, codes.data()).error;
      }
    }
  });
  double sum = 0;  // in order: the same for any number of threads
  for (const double error : errors) sum += error;
  return sum;
}

// The exponent that loses least over all layers behind the norm.
Result<ChannelScales> choose(const Source& source, const std::string& norm, const Sums& sums,
                             const TargetOptions& o, Exec& exec) {
  constexpr int kSteps = 10;
  std::vector<ChannelScales> choices(kSteps + 1);
  std::vector<double> errors(kSteps + 1, 0);
  for (int i = 0; i <= kSteps; ++i) {
    ChannelScales& choice = choices[static_cast<size_t>(i)];
    choice.exponent = static_cast<double>(i) / kSteps;
    choice.scale = scales_of(sums, choice.exponent);
    for (const double square : sums.square) {
      choice.importance.push_back(static_cast<float>(square / static_cast<double>(sums.rows)));
    }
  }
  for (const Linear& linear : source.linears) {
    if (linear.mtp || norm_before(linear.prefix) != norm || !int4_takes(linear, o)) continue;
    const Matrix matrix = TRY(load_linear(source, linear, exec));
    for (size_t i = 0; i < choices.size(); ++i) {
      errors[i] += error_of(matrix.view, choices[i], o.group_size, exec);
    }
  }
  const auto best = std::ranges::min_element(errors) - errors.begin();
  return std::move(choices[static_cast<size_t>(best)]);
}

}  // namespace

std::string norm_before(const std::string& prefix) {
  constexpr std::string_view kStart = "model.layers.";
  if (!prefix.starts_with(kStart)) return "";
  const size_t dot = prefix.find('.', kStart.size());
  if (dot == prefix.npos) return "";
  const int32_t layer = std::atoi(prefix.c_str() + kStart.size());
  const std::string_view rest = std::string_view(prefix).substr(dot + 1);
  for (const std::string_view name :
       {"self_attn.q_proj", "self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"}) {
    if (rest == name) return norm_name(layer, true);
  }
  const bool mlp = rest.starts_with("mlp.") && (rest.ends_with(".gate_proj") ||
                                                rest.ends_with(".up_proj") || rest == "mlp.gate");
  return mlp ? norm_name(layer, false) : "";
}

Result<Calibration> calibrate(const Source& source, const std::filesystem::path& text,
                              const TargetOptions& options, Exec& exec) {
  const std::vector<int32_t> tokens = TRY(tokens_of(source, text));
  std::map<std::string, Sums> sums = TRY(empty_sums(source));
  log::info("calibrating on {} tokens of {}", tokens.size(), text.string());
  TRY(read_tokens(source, tokens, exec, sums));
  Calibration calibration;
  for (const auto& [norm, entry] : sums) {
    calibration[norm] = TRY(choose(source, norm, entry, options, exec));
    log::info("{}: exponent {:.1f}", norm, calibration[norm].exponent);
  }
  return calibration;
}

}  // namespace fathom::convert
