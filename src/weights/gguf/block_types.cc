#include "weights/gguf/block_types.h"

#include <cstring>

#include "tensor/float_formats.h"

namespace fathom {
namespace {

float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_float(bits);
}

// Low nibbles are the first half of the numbers, high nibbles the second.
void halves(const uint8_t* packed, int n, int8_t* codes) {
  for (int i = 0; i < n / 2; ++i) {
    codes[i] = static_cast<int8_t>(packed[i] & 15);
    codes[i + n / 2] = static_cast<int8_t>(packed[i] >> 4);
  }
}

// Blocks of 32 with one scale.

void q8_0(const uint8_t* b, BlockParts& p) {
  p.scale[0] = half_at(b);
  p.offset[0] = 0;
  std::memcpy(p.code, b + 2, 32);
}

void q4_0(const uint8_t* b, BlockParts& p) {
  p.scale[0] = half_at(b);
  p.offset[0] = -8 * p.scale[0];
  halves(b + 2, 32, p.code);
}

void q4_1(const uint8_t* b, BlockParts& p) {
  p.scale[0] = half_at(b);
  p.offset[0] = half_at(b + 2);
  halves(b + 4, 32, p.code);
}

// The fifth bits of a block of 32 lie in one word.
void add_fifth_bits(const uint8_t* word, int8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, word, sizeof bits);
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<int8_t>(codes[i] | (((bits >> i) & 1) << 4));
  }
}

void q5_0(const uint8_t* b, BlockParts& p) {
  p.scale[0] = half_at(b);
  p.offset[0] = 0;
  halves(b + 6, 32, p.code);
  add_fifth_bits(b + 2, p.code);
  for (int i = 0; i < 32; ++i) p.code[i] = static_cast<int8_t>(p.code[i] - 16);
}

void q5_1(const uint8_t* b, BlockParts& p) {
  p.scale[0] = half_at(b);
  p.offset[0] = half_at(b + 2);
  halves(b + 8, 32, p.code);
  add_fifth_bits(b + 4, p.code);
}

// The sixteen values of the non-linear 4-bit types.
constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

void look_up(int8_t* codes, int n) {
  for (int i = 0; i < n; ++i) codes[i] = kNonLinear[codes[i]];
}

void iq4_nl(const uint8_t* b, BlockParts& p) {
  p.scale[0] = half_at(b);
  p.offset[0] = 0;
  halves(b + 2, 32, p.code);
  look_up(p.code, 32);
}

// Blocks of 256.

void iq4_xs(const uint8_t* b, BlockParts& p) {
  const float d = half_at(b);
  uint16_t high;
  std::memcpy(&high, b + 2, sizeof high);
  const uint8_t* low = b + 4;
  for (int g = 0; g < 8; ++g) {
    const int scale = ((low[g / 2] >> (4 * (g % 2))) & 15) | (((high >> (2 * g)) & 3) << 4);
    p.scale[g] = d * static_cast<float>(scale - 32);
    p.offset[g] = 0;
    halves(b + 8 + 16 * g, 32, p.code + 32 * g);
  }
  look_up(p.code, 256);
}

// Two bits per number; four groups of 32 numbers share 32 bytes.
void crumbs(const uint8_t* packed, int8_t* codes) {
  for (int i = 0; i < 256; ++i) {
    const uint8_t byte = packed[i / 128 * 32 + i % 32];
    codes[i] = static_cast<int8_t>((byte >> (2 * (i % 128 / 32))) & 3);
  }
}

void q2_k(const uint8_t* b, BlockParts& p) {
  const float d = half_at(b + 80);
  const float min = half_at(b + 82);
  for (int g = 0; g < 16; ++g) {
    p.scale[g] = d * static_cast<float>(b[g] & 15);
    p.offset[g] = -(min * static_cast<float>(b[g] >> 4));
  }
  crumbs(b + 16, p.code);
}

void q3_k(const uint8_t* b, BlockParts& p) {
  const uint8_t* mask = b;
  const uint8_t* scales = b + 96;  // sixteen of 6 bits: four low ones each, then two high ones
  const float d = half_at(b + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
    p.scale[g] = d * static_cast<float>((low | (high << 4)) - 32);
    p.offset[g] = 0;
  }
  crumbs(b + 32, p.code);
  for (int i = 0; i < 256; ++i) {
    if (!((mask[i % 32] >> (i / 32)) & 1)) p.code[i] = static_cast<int8_t>(p.code[i] - 4);
  }
}

// Eight pairs of a 6-bit scale and a 6-bit minimum in 12 bytes.
void six_bit_scales(const uint8_t* b, BlockParts& p) {
  const float d = half_at(b);
  const float min = half_at(b + 2);
  const uint8_t* s = b + 4;
  for (int g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | ((s[g - 4] >> 6) << 4);
    const int low = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | ((s[g] >> 6) << 4);
    p.scale[g] = d * static_cast<float>(scale);
    p.offset[g] = -(min * static_cast<float>(low));
  }
}

void q4_k(const uint8_t* b, BlockParts& p) {
  six_bit_scales(b, p);
  for (int i = 0; i < 4; ++i) halves(b + 16 + 32 * i, 64, p.code + 64 * i);
}

void q5_k(const uint8_t* b, BlockParts& p) {
  six_bit_scales(b, p);
  for (int i = 0; i < 4; ++i) halves(b + 48 + 32 * i, 64, p.code + 64 * i);
  for (int i = 0; i < 256; ++i) {
    p.code[i] = static_cast<int8_t>(p.code[i] | (((b[16 + i % 32] >> (i / 32)) & 1) << 4));
  }
}

void q6_k(const uint8_t* b, BlockParts& p) {
  const int8_t* scales = reinterpret_cast<const int8_t*>(b + 192);
  const float d = half_at(b + 208);
  for (int g = 0; g < 16; ++g) {
    p.scale[g] = d * static_cast<float>(scales[g]);
    p.offset[g] = 0;
  }
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128;
    const int within = i % 128;
    const int low = b[half * 64 + within % 64] >> (within < 64 ? 0 : 4) & 15;
    const int high = (b[128 + half * 32 + within % 32] >> (2 * (within / 32))) & 3;
    p.code[i] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

using enum BlockForm;

constexpr BlockType kTypes[] = {
    {0, "F32", 1, 4, kPlain, 0, nullptr, DType::kF32},
    {1, "F16", 1, 2, kPlain, 0, nullptr, DType::kF16},
    {2, "Q4_0", 32, 18, kNibbles, 32, q4_0},
    {3, "Q4_1", 32, 20, kNibbles, 32, q4_1},
    {6, "Q5_0", 32, 22, kSymmetric, 32, q5_0},
    {7, "Q5_1", 32, 24, kOther, 32, q5_1},
    {8, "Q8_0", 32, 34, kSymmetric, 32, q8_0},
    {9, "Q8_1", 32, 40},
    {10, "Q2_K", 256, 84, kOther, 16, q2_k},
    {11, "Q3_K", 256, 110, kSymmetric, 16, q3_k},
    {12, "Q4_K", 256, 144, kNibbles, 32, q4_k},
    {13, "Q5_K", 256, 176, kOther, 32, q5_k},
    {14, "Q6_K", 256, 210, kSymmetric, 16, q6_k},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18, kSymmetric, 32, iq4_nl},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136, kSymmetric, 32, iq4_xs},
    {24, "I8", 1, 1, kPlain, 0, nullptr, DType::kI8},
    {25, "I16", 1, 2, kPlain, 0, nullptr, DType::kI16},
    {26, "I32", 1, 4, kPlain, 0, nullptr, DType::kI32},
    {27, "I64", 1, 8, kPlain, 0, nullptr, DType::kI64},
    {28, "F64", 1, 8, kPlain, 0, nullptr, DType::kF64},
    {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2, kPlain, 0, nullptr, DType::kBF16},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},
};

}  // namespace

const BlockType* block_type(uint32_t id) {
  for (const BlockType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

void unpack_block(const BlockType& type, const uint8_t* block, float* values) {
  BlockParts parts;
  type.take_apart(block, parts);
  for (int32_t i = 0; i < type.elements; ++i) {
    const int32_t g = i / type.group;
    values[i] = parts.scale[g] * static_cast<float>(parts.code[i]) + parts.offset[g];
  }
}

}  // namespace fathom
