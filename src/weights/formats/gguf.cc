// Weights of GGUF files that are not plain numbers (gguf/block_types.h). Types with signed codes
// become kI8, types with 4-bit codes and offsets kI4, without losing anything; the others are
// unpacked.
#include <algorithm>
#include <cstring>

#include "tensor/float_formats.h"
#include "weights/formats/format.h"
#include "weights/gguf/block_types.h"

namespace fathom {
namespace {

std::string weight_name(const std::string& prefix) {
  return prefix + ".weight";
}

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(weight_name(prefix));
  return weight && weight->dtype == DType::kBlocks;
}

void names(const std::string& prefix, std::vector<std::string>& out) {
  out.push_back(weight_name(prefix));
}

WeightFormat format_of(BlockForm form) {
  if (form == BlockForm::kSymmetric) return WeightFormat::kI8;
  return form == BlockForm::kNibbles ? WeightFormat::kI4 : WeightFormat::kBF16;
}

// What the matrix will be, without its data.
MatrixView view_of(const BlockType& type, int32_t out, int32_t in) {
  MatrixView view{.data = nullptr, .out = out, .in = in, .format = format_of(type.form)};
  if (view.format == WeightFormat::kBF16) return view;
  view.block_out = 1;
  view.block_in = type.group;
  view.scale_stride = in / type.group;
  return view;
}

// Where the parts of a block go in a row of the matrix.
struct Row {
  const BlockType& type;
  std::byte* data;
  float* scale;
  float* zero;

  void put(int64_t first, const BlockParts& parts) const {
    if (type.form == BlockForm::kSymmetric) {
      std::memcpy(data + first, parts.code, static_cast<size_t>(type.elements));
    } else {
      put_nibbles(reinterpret_cast<uint8_t*>(data) + first / 2, parts);
    }
    for (int32_t g = 0; g < type.elements / type.group; ++g) {
      scale[first / type.group + g] = parts.scale[g];
      if (zero) put_zero(first / type.group + g, parts.scale[g], parts.offset[g]);
    }
  }

 private:
  void put_nibbles(uint8_t* bytes, const BlockParts& parts) const {
    for (int32_t i = 0; i < type.elements; i += 2) {
      // A group without a scale is constant: code 0 everywhere, see put_zero.
      const bool constant = parts.scale[i / type.group] == 0;
      bytes[i / 2] =
          constant ? uint8_t{0} : static_cast<uint8_t>(parts.code[i] | (parts.code[i + 1] << 4));
    }
  }
  // scale * code + offset as (code - zero) * scale.
  void put_zero(int64_t group, float s, float offset) const {
    if (s == 0) {
      scale[group] = offset;
      zero[group] = -1;
    } else {
      zero[group] = -offset / s;
    }
  }
};

// Fills a matrix of view_of() from blocks [out, in].
void repack(const BlockType& type, const std::byte* bytes, const Matrix& matrix, std::byte* data,
            float* scale, float* zero) {
  const MatrixView& view = matrix.view;
  const auto* block = reinterpret_cast<const uint8_t*>(bytes);
  float values[kMaxBlock];
  BlockParts parts;
  for (int64_t row = 0; row < view.out; ++row) {
    std::byte* row_data = data + row * view.row_bytes();
    const int64_t first_scale = row * view.scale_stride;
    const Row to{type, row_data, scale + first_scale, zero ? zero + first_scale : nullptr};
    for (int64_t k = 0; k < view.in; k += type.elements, block += type.bytes) {
      if (view.format == WeightFormat::kBF16) {
        unpack_block(type, block, values);
        auto* halves = reinterpret_cast<uint16_t*>(row_data) + k;
        std::transform(values, values + type.elements, halves, float_to_bf16);
      } else {
        type.take_apart(block, parts);
        to.put(k, parts);
      }
    }
  }
}

Status check_type(const StoredTensor& weight, const std::string& name) {
  if (weight.block->take_apart) return {};
  return fail(ErrorCode::kUnsupported,
              "{}: {} has GGUF type {}, which this build cannot unpack (it reads F32, F16, BF16, "
              "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL and IQ4_XS); use another "
              "quantisation of the model",
              weight.file->path, name, weight.block->name);
}

Result<Matrix> load(const Checkpoint& checkpoint, const std::string& prefix, int32_t out,
                    int32_t in, const QuantHints&) {
  const std::string name = weight_name(prefix);
  const StoredTensor& weight = *checkpoint.find(name);
  const BlockType& type = *weight.block;
  if (weight.shape != std::vector<int64_t>{out, in}) {
    return invalid("{}: {}: expected [{}, {}], found {}", weight.file->path, name, out, in,
                   weight.describe());
  }
  TRY(check_type(weight, name));
  Matrix matrix;
  matrix.view = view_of(type, out, in);
  matrix.data = TRY(Buffer::allocate(static_cast<size_t>(matrix.view.bytes())));
  const int64_t scales = int64_t{out} * matrix.view.scale_stride;
  const bool zeros = matrix.view.format == WeightFormat::kI4;
  matrix.scales = TRY(Buffer::allocate(static_cast<size_t>(scales * 4 * (zeros ? 2 : 1))));
  float* scale = matrix.scales.as<float>();
  repack(type, weight.bytes.data(), matrix, matrix.data.data(), scale,
         zeros ? scale + scales : nullptr);
  matrix.view.data = matrix.data.data();
  if (matrix.view.block_in > 0) matrix.view.scale = scale;
  if (zeros) matrix.view.zero = scale + scales;
  return matrix;
}

int64_t bytes(const Checkpoint& checkpoint, const std::string& prefix, int32_t out, int32_t in) {
  MatrixView view = view_of(*checkpoint.find(weight_name(prefix))->block, out, in);
  static constexpr float kSome = 0;
  if (view.format == WeightFormat::kI4) view.zero = &kSome;
  return matrix_bytes(view);
}

// kv_b_proj as newer GGUF files have it: for each head W_UK transposed and W_UV, apart.

std::string value_name(const std::string& prefix) {
  return prefix + ".weight_v";
}

bool split_claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(weight_name(prefix));
  return weight && weight->shape.size() == 3 && checkpoint.find(value_name(prefix));
}

void split_names(const std::string& prefix, std::vector<std::string>& out) {
  out.push_back(weight_name(prefix));
  out.push_back(value_name(prefix));
}

// Any tensor of a GGUF file as FP32.
Result<Vector> to_values(const StoredTensor& tensor, const std::string& name) {
  if (tensor.dtype != DType::kBlocks) return to_floats(tensor, name);
  TRY(check_type(tensor, name));
  const BlockType& type = *tensor.block;
  Vector values(static_cast<size_t>(tensor.elements()));
  const auto* block = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  for (size_t i = 0; i < values.size(); i += static_cast<size_t>(type.elements)) {
    unpack_block(type, block, values.data() + i);
    block += type.bytes;
  }
  return values;
}

Result<Matrix> split_load(const Checkpoint& checkpoint, const std::string& prefix, int32_t out,
                          int32_t in, const QuantHints&) {
  const StoredTensor& keys = *checkpoint.find(weight_name(prefix));
  const StoredTensor& values = *checkpoint.find(value_name(prefix));
  const int64_t heads = keys.shape[0];
  const int64_t nope = keys.shape[2];
  const int64_t v = heads > 0 ? out / heads - nope : 0;
  const bool fits = keys.shape[1] == in && v > 0 && heads * (nope + v) == out;
  if (!fits || values.shape != std::vector<int64_t>{heads, v, in}) {
    return invalid(
        "{}: attn_k_b and attn_v_b of {} must be [heads, {}, nope] and [heads, v, {}] with {} rows "
        "in all, found {} and {}",
        keys.file->path, prefix, in, in, out, keys.describe(), values.describe());
  }
  const Vector key_values = TRY(to_values(keys, weight_name(prefix)));
  const Vector value_values = TRY(to_values(values, value_name(prefix)));
  Vector joined;
  joined.reserve(static_cast<size_t>(out) * static_cast<size_t>(in));
  for (int64_t h = 0; h < heads; ++h) {
    const float* key = key_values.data() + h * in * nope;
    for (int64_t n = 0; n < nope; ++n) {
      for (int64_t k = 0; k < in; ++k) joined.push_back(key[k * nope + n]);
    }
    const float* value = value_values.data() + h * v * in;
    joined.insert(joined.end(), value, value + v * in);
  }
  // Nothing is rounded that the file had exactly, and nothing takes more room than it is worth.
  const bool wide = keys.dtype == DType::kF32 || keys.dtype == DType::kF16;
  Matrix matrix;
  matrix.view = {.data = nullptr,
                 .out = out,
                 .in = in,
                 .format = wide ? WeightFormat::kF32 : WeightFormat::kBF16};
  matrix.data = TRY(Buffer::allocate(static_cast<size_t>(matrix.view.bytes())));
  matrix.view.data = matrix.data.data();
  if (wide) {
    std::ranges::copy(joined, matrix.data.as<float>());
  } else {
    std::ranges::transform(joined, matrix.data.as<uint16_t>(), float_to_bf16);
  }
  return matrix;
}

}  // namespace

const Format kGgufFormat = {"gguf", WeightFormat::kI8, claims, names, load, bytes};
const Format kGgufSplitFormat = {"gguf", WeightFormat::kF32, split_claims, split_names, split_load};

}  // namespace fathom
