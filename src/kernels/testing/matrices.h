// Random rows and weight matrices in every stored format. For tests only.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "tensor/float_formats.h"

namespace fathom {

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(engine);
  return values;
}

inline const char* name_of(WeightFormat format) {
  static constexpr const char* kNames[kWeightFormatCount] = {"F32", "F16", "BF16", "F8Block"};
  return kNames[static_cast<int>(format)];
}

// A matrix of random numbers and its memory.
class RandomMatrix {
 public:
  RandomMatrix(WeightFormat format, int32_t out, int32_t in, uint32_t seed, int32_t block = 128) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    const auto count = static_cast<size_t>(out) * static_cast<size_t>(in);
    data_.resize(count * 4 + 64);
    view = {.data = data_.data(), .out = out, .in = in, .format = format};
    for (size_t i = 0; i < count; ++i) {
      switch (format) {
        case WeightFormat::kF32:
          reinterpret_cast<float*>(data_.data())[i] = normal(engine);
          break;
        case WeightFormat::kF16: {  // all finite codes, subnormal ones too
          const auto code = static_cast<uint16_t>(engine());
          const bool finite = (code & 0x7c00) != 0x7c00;
          reinterpret_cast<uint16_t*>(data_.data())[i] = finite ? code & 0xbfff : 0x3c00;
          break;
        }
        case WeightFormat::kBF16:
          reinterpret_cast<uint16_t*>(data_.data())[i] = float_to_bf16(normal(engine));
          break;
        case WeightFormat::kF8Block: {  // all codes but NaN
          const auto code = static_cast<uint8_t>(engine());
          data_[i] = (code & 0x7f) == 0x7f ? uint8_t{0x38} : code;
          break;
        }
      }
    }
    if (format != WeightFormat::kF8Block) return;
    view.block_out = view.block_in = block;
    view.scale_stride = (in + block - 1) / block;
    std::uniform_real_distribution<float> uniform(1e-3f, 1e-2f);
    scales_.resize(static_cast<size_t>((out + block - 1) / block * view.scale_stride));
    for (float& s : scales_) s = uniform(engine);
    view.scale = scales_.data();
  }

  float at(int64_t row, int64_t column) const {
    const int64_t i = row * view.in + column;
    switch (view.format) {
      case WeightFormat::kF32:
        return static_cast<const float*>(view.data)[i];
      case WeightFormat::kF16:
        return f16_to_float(static_cast<const uint16_t*>(view.data)[i]);
      case WeightFormat::kBF16:
        return bf16_to_float(static_cast<const uint16_t*>(view.data)[i]);
      case WeightFormat::kF8Block:
        return f8e4m3_to_float(data_[static_cast<size_t>(i)]) *
               view.scale[row / view.block_out * view.scale_stride + column / view.block_in];
    }
    return 0;
  }

  uint8_t* codes() { return data_.data(); }

  MatrixView view;

 private:
  std::vector<uint8_t> data_;
  std::vector<float> scales_;
};

// "avx2_BF16" and the like, for names of parameterised tests.
inline std::string test_name(std::string target, const std::string& rest = "") {
  return rest.empty() ? target : target + "_" + rest;
}

}  // namespace fathom
