#include "model/deepseek/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fathom::deepseek {
namespace {

double mscale(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

// Share of interpolation in pair i: 0 below `low` (fast pairs keep their frequency), 1 above
// `high`.
double ramp(int32_t i, double low, double high) {
  return std::clamp((i - low) / (high - low), 0.0, 1.0);
}

}  // namespace

std::vector<float> inverse_frequencies(const ModelConfig& c) {
  const int32_t pairs = c.qk_rope / 2;
  std::vector<float> frequencies(static_cast<size_t>(pairs));
  for (int32_t i = 0; i < pairs; ++i) {
    double frequency = std::pow(c.rope_theta, -2.0 * i / c.qk_rope);
    if (c.yarn) {
      const YarnConfig& y = *c.yarn;
      const auto correction = [&](double rotations) {
        return c.qk_rope * std::log(y.original_max_position / (2 * std::numbers::pi * rotations)) /
               (2 * std::log(c.rope_theta));
      };
      const double low = std::max(std::floor(correction(y.beta_fast)), 0.0);
      double high = std::min(std::ceil(correction(y.beta_slow)), c.qk_rope - 1.0);
      if (low == high) high += 0.001;
      const double share = ramp(i, low, high);
      frequency = frequency / y.factor * share + frequency * (1 - share);
    }
    frequencies[static_cast<size_t>(i)] = static_cast<float>(frequency);
  }
  return frequencies;
}

Result<RotaryTables> make_rotary_tables(const ModelConfig& c, int32_t positions) {
  const std::vector<float> frequencies = inverse_frequencies(c);
  const double factor = c.yarn ? mscale(c.yarn->factor, c.yarn->mscale) /
                                     mscale(c.yarn->factor, c.yarn->mscale_all_dim)
                               : 1.0;
  RotaryTables tables;
  const size_t bytes = static_cast<size_t>(positions) * frequencies.size() * sizeof(float);
  tables.cos = TRY(Buffer::allocate(bytes));
  tables.sin = TRY(Buffer::allocate(bytes));
  float* cos = tables.cos.as<float>();
  float* sin = tables.sin.as<float>();
  for (int32_t position = 0; position < positions; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;  // FP32, as the references do
      *cos++ = static_cast<float>(std::cos(angle) * factor);
      *sin++ = static_cast<float>(std::sin(angle) * factor);
    }
  }
  return tables;
}

}  // namespace fathom::deepseek
