#include "convert/int4.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"

namespace fathom::convert {
namespace {

// Column 8j + c of a word's columns lies in nibble kNibble[c].
constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void put(uint32_t* words, int64_t index, uint32_t code) {
  words[index / 8] |= code << (4 * kNibble[index % 8]);
}

// One choice of range: codes and their error.
Int4Group try_range(const float* x, int64_t n, const float* importance, float low, float high,
                    uint8_t* codes) {
  constexpr float kSmallest = 0x1p-20f;
  Int4Group group;
  group.scale = f16_to_float(float_to_f16(std::max((high - low) / 15, kSmallest)));
  const float zero = std::clamp(std::nearbyint(-low / group.scale), 0.0f, 15.0f);
  group.zero = static_cast<int32_t>(zero);
  for (int64_t i = 0; i < n; ++i) {
    const float code = std::clamp(std::nearbyint(x[i] / group.scale) + zero, 0.0f, 15.0f);
    const double miss = double{(code - zero) * group.scale} - x[i];
    group.error += (importance ? importance[i] : 1.0) * miss * miss;
    codes[i] = static_cast<uint8_t>(code);
  }
  return group;
}

}  // namespace

Int4Group quantize_int4_group(const float* x, int64_t n, const float* importance, uint8_t* codes) {
  float low = 0, high = 0;
  for (int64_t i = 0; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  Int4Group best = try_range(x, n, importance, low, high, codes);
  std::vector<uint8_t> tried(static_cast<size_t>(n));
  constexpr int kSteps = 8;
  for (int step = 1; step <= kSteps; ++step) {
    const float shrink = 1 - 0.05f * static_cast<float>(step);
    const Int4Group group = try_range(x, n, importance, low * shrink, high * shrink, tried.data());
    if (group.error >= best.error) continue;
    best = group;
    std::ranges::copy(tried, codes);
  }
  return best;
}

bool int4_takes(const Linear& linear, const TargetOptions& o) {
  return linear.in % o.group_size == 0 && linear.out % 8 == 0;
}

std::vector<OutputTensor> int4_tensors(const Linear& l, const TargetOptions& o) {
  const int64_t groups = l.in / o.group_size;
  return {{l.prefix + ".qweight", DType::kI32, {l.in, l.out / 8}},
          {l.prefix + ".qzeros", DType::kI32, {groups, l.out / 8}},
          {l.prefix + ".scales", DType::kF16, {groups, l.out}}};
}

// Words hold eight output rows, so a thread takes eight rows at a time and owns its words.
Result<std::vector<Bytes>> int4_encode(const LayerInput& layer, const TargetOptions& o,
                                       Exec& exec) {
  const MatrixView& w = layer.weights;
  const LayerScales& s = layer.scales;
  const int64_t words = w.out / 8;
  const int64_t groups = w.in / o.group_size;
  Bytes qweight(static_cast<size_t>(4 * words * w.in));
  Bytes qzeros(static_cast<size_t>(4 * words * groups));
  Bytes scales(static_cast<size_t>(2 * groups * w.out));
  auto* weight = reinterpret_cast<uint32_t*>(qweight.data());
  auto* zero = reinterpret_cast<uint32_t*>(qzeros.data());
  auto* scale = reinterpret_cast<uint16_t*>(scales.data());
  exec.parallel(words, [&](Range range, int) {
    std::vector<float> row(static_cast<size_t>(w.in));
    std::vector<float> importance(static_cast<size_t>(w.in));
    std::vector<uint8_t> codes(static_cast<size_t>(o.group_size));
    for (int64_t n = range.begin * 8; n < range.end * 8; ++n) {
      dequantize(w, n, n + 1, row.data());
      for (size_t k = 0; k < row.size(); ++k) {
        const float in = s.in ? s.in[k] : 1.0f;
        row[k] *= in;
        // The input is divided by what the column is multiplied with.
        if (s.importance) importance[k] = s.importance[k] / (in * in);
      }
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = g * o.group_size;
        const Int4Group group =
            quantize_int4_group(row.data() + first, o.group_size,
                                s.importance ? importance.data() + first : nullptr, codes.data());
        for (int64_t i = 0; i < o.group_size; ++i) {
          put(weight + (first + i) * words, n, codes[static_cast<size_t>(i)]);
        }
        put(zero + g * words, n, static_cast<uint32_t>(group.zero));
        scale[g * w.out + n] = float_to_f16(group.scale);
      }
    }
  });
  return std::vector{std::move(qweight), std::move(qzeros), std::move(scales)};
}

OrderedJson int4_quantization(std::span<const std::string> kept, const TargetOptions& o) {
  OrderedJson json = {{"bits", 4},
                      {"group_size", o.group_size},
                      {"modules_to_not_convert", nullptr},
                      {"quant_method", "awq"},
                      {"version", "gemm"},
                      {"zero_point", true}};
  if (!kept.empty()) json["modules_to_not_convert"] = kept;
  return json;
}

}  // namespace fathom::convert
