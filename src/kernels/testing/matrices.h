// Random rows and weight matrices in every stored format. For tests only.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "kernels/ops.h"
#include "kernels/weight_value.h"

namespace fathom {

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(engine);
  return values;
}

inline const char* name_of(WeightFormat format) {
  static constexpr const char* kNames[kWeightFormatCount] = {"F32", "F16", "BF16", "F8",
                                                             "I8",  "I4",  "Fp4"};
  return kNames[static_cast<int>(format)];
}

// Bytes that end where readable memory ends: whoever reads on is killed.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t size) {
    constexpr size_t kPage = 4096;
    const size_t readable = (size + kPage - 1) / kPage * kPage;
    void* pages =
        mmap(nullptr, readable + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    auto* first = static_cast<uint8_t*>(pages);
    CHECK(mprotect(first + readable, kPage, PROT_NONE) == 0);
    pages_ = {first, [length = readable + kPage](uint8_t* p) { munmap(p, length); }};
    bytes_ = {first + readable - size, size};
  }
  std::span<uint8_t> bytes() const { return bytes_; }

 private:
  std::shared_ptr<uint8_t> pages_;
  std::span<uint8_t> bytes_;
};

// A matrix of random numbers and its memory. block: columns (and, for kF8 and kI8, rows) that share
// a scale; kI4 takes the largest group size up to it; block_out overrides the rows.
class RandomMatrix {
 public:
  RandomMatrix(WeightFormat format, int32_t out, int32_t in, uint32_t seed, int32_t block = 128,
               int32_t block_out = 0)
      : view{.data = nullptr, .out = out, .in = in, .format = format},
        data_(static_cast<size_t>(view.bytes())) {
    std::mt19937 engine(seed);
    view.data = codes();
    const auto count = static_cast<size_t>(out) * static_cast<size_t>(in);
    std::normal_distribution<float> normal;
    switch (format) {
      case WeightFormat::kF32:
        for (size_t i = 0; i < count; ++i) reinterpret_cast<float*>(codes())[i] = normal(engine);
        return;
      case WeightFormat::kF16:  // all finite codes, subnormal ones too
        for (size_t i = 0; i < count; ++i) {
          const auto code = static_cast<uint16_t>(engine());
          const bool finite = (code & 0x7c00) != 0x7c00;
          reinterpret_cast<uint16_t*>(codes())[i] = finite ? code & 0xbfff : 0x3c00;
        }
        return;
      case WeightFormat::kBF16:
        for (size_t i = 0; i < count; ++i) {
          reinterpret_cast<uint16_t*>(codes())[i] = float_to_bf16(normal(engine));
        }
        return;
      case WeightFormat::kF8:
        random_codes(engine);
        for (uint8_t& code : data_.bytes()) code = (code & 0x7f) == 0x7f ? 0x38 : code;  // no NaN
        random_scales(engine, block_out ? block_out : block, block);
        return;
      case WeightFormat::kI8:
        random_codes(engine);
        random_scales(engine, block_out ? block_out : block, block);
        return;
      case WeightFormat::kI4:
        random_codes(engine);
        random_scales(
            engine, 1,
            static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(std::min(block, 128)))));
        zeros_.resize(scales_.size());
        for (float& zero : zeros_) zero = static_cast<float>(engine() % 16);
        view.zero = zeros_.data();
        return;
      case WeightFormat::kFp4:
        random_codes(engine);
        scales8_.resize(static_cast<size_t>(out) * static_cast<size_t>((in + 15) / 16));
        for (uint8_t& code : scales8_) code = static_cast<uint8_t>(engine() % 0x7f);  // no NaN
        view.scale8 = scales8_.data();
        view.global_scale = 0.003f;
        return;
    }
  }

  float at(int64_t row, int64_t column) const { return weight_value(view, row, column); }

  uint8_t* codes() { return data_.bytes().data(); }

  MatrixView view;

 private:
  void random_codes(std::mt19937& engine) {
    for (uint8_t& code : data_.bytes()) code = static_cast<uint8_t>(engine());
  }
  void random_scales(std::mt19937& engine, int32_t block_out, int32_t block_in) {
    view.block_out = block_out;
    view.block_in = block_in;
    view.scale_stride = (view.in + block_in - 1) / block_in;
    const int64_t blocks = int64_t{view.out + block_out - 1} / block_out * view.scale_stride;
    std::uniform_real_distribution<float> uniform(1e-3f, 1e-2f);
    scales_.resize(static_cast<size_t>(blocks));
    for (float& s : scales_) s = uniform(engine);
    view.scale = scales_.data();
  }

  GuardedBytes data_;
  std::vector<float> scales_;
  std::vector<float> zeros_;
  std::vector<uint8_t> scales8_;
};

// "avx2_BF16" and the like, for names of parameterised tests.
inline std::string test_name(std::string target, const std::string& rest = "") {
  return rest.empty() ? target : target + "_" + rest;
}

}  // namespace fathom
