// Scalar conversions between float and the narrow formats. The exact definition; kernels must
// agree.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace fathom {

inline float bf16_to_float(uint16_t h) {
  return std::bit_cast<float>(uint32_t{h} << 16);
}

// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bf16(float f) {
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

// Round to nearest, ties to even; overflow gives infinity, NaN stays NaN.
inline uint16_t float_to_f16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // subnormal or zero: let the FPU round to steps of 2^-24
    const float steps = std::bit_cast<float>(magnitude) * 0x1p24f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(steps)));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

inline float f16_to_float(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t exponent = (h >> 10) & 31;
  const uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

// E4M3FN: bias 7, subnormal step 2^-9, 0x7f / 0xff are NaN.
inline float f8e4m3_to_float(uint8_t code) {
  const uint32_t exponent = (code >> 3) & 15;
  const uint32_t mantissa = code & 7;
  float magnitude;
  if (exponent == 15 && mantissa == 7) {
    magnitude = std::bit_cast<float>(0x7fc00000u);
  } else if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  } else {
    magnitude = std::bit_cast<float>(((exponent + 120u) << 23) | (mantissa << 20));
  }
  return (code & 0x80) ? -magnitude : magnitude;
}

// Magnitudes below 2^22 to the nearest integer, ties to even, without a call.
inline uint32_t nearest_integer(float magnitude) {
  return std::bit_cast<uint32_t>(magnitude + 0x1p23f) & 0x7fffffu;
}

// Round to nearest, ties to even; beyond 448 saturates, NaN stays NaN.
inline uint8_t float_to_f8e4m3(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7f);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7e);  // 448
  if (magnitude < 0x3c800000u) {  // subnormal or zero: steps of 2^-9
    return static_cast<uint8_t>(sign | nearest_integer(std::bit_cast<float>(magnitude) * 0x1p9f));
  }
  const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1);
  return static_cast<uint8_t>(sign | ((rounded - 0x3c000000u) >> 20));
}

// E5M2: the upper byte of a half-precision number, with infinities.
inline float f8e5m2_to_float(uint8_t code) {
  return f16_to_float(static_cast<uint16_t>(code << 8));
}

// Round to nearest, ties to even; beyond 57344 saturates, NaN stays NaN.
inline uint8_t float_to_f8e5m2(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7f);
  if (magnitude >= 0x47600000u) return static_cast<uint8_t>(sign | 0x7b);  // 57344
  if (magnitude < 0x38800000u) {  // subnormal or zero: steps of 2^-16
    return static_cast<uint8_t>(sign | nearest_integer(std::bit_cast<float>(magnitude) * 0x1p16f));
  }
  const uint32_t rounded = magnitude + 0xfffffu + ((magnitude >> 21) & 1);
  return static_cast<uint8_t>(sign | ((rounded - 0x38000000u) >> 21));
}

// E2M1, the low four bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
inline float f4e2m1_to_float(uint8_t code) {
  constexpr float kMagnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return (code & 8) ? -kMagnitudes[code & 7] : kMagnitudes[code & 7];
}

// The nearest of the eight magnitudes, ties to the even code; beyond 6 saturates. NaN gives 6.
inline uint8_t float_to_f4e2m1(float f) {
  const float m = std::fabs(f);
  const int code = m <= 0.25f   ? 0
                   : m < 0.75f  ? 1
                   : m <= 1.25f ? 2
                   : m < 1.75f  ? 3
                   : m <= 2.5f  ? 4
                   : m < 3.5f   ? 5
                   : m <= 5.0f  ? 6
                                : 7;
  return static_cast<uint8_t>(code | (std::signbit(f) ? 8 : 0));
}

// E8M0: 2^(code - 127); 0xff is NaN.
inline float f8e8m0_to_float(uint8_t code) {
  return code == 0xff ? std::bit_cast<float>(0x7fc00000u) : std::ldexp(1.0f, int{code} - 127);
}

}  // namespace fathom
