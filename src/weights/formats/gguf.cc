// Weights of GGUF files that are not plain numbers (gguf/block_types.h). Types with signed codes
// become kI8, types with 4-bit codes and offsets kI4, without losing anything; the others are
// unpacked.
#include <algorithm>
#include <cstring>

#include "tensor/float_formats.h"
#include "weights/formats/format.h"
#include "weights/gguf/block_types.h"
#include "weights/quantize.h"

namespace fathom {
namespace {

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(prefix + ".weight");
  return weight && weight->dtype == DType::kBlocks;
}

WeightFormat format_of(BlockForm form) {
  if (form == BlockForm::kSymmetric) return WeightFormat::kI8;
  return form == BlockForm::kNibbles ? WeightFormat::kI4 : WeightFormat::kBF16;
}

QuantTarget target_of(const BlockType& type) {
  const WeightFormat format = format_of(type.form);
  return {format, 1, type.group, format == WeightFormat::kI4};
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

// Fills rows of a matrix of target_of() from blocks [out, in].
void repack(const BlockType& type, const std::byte* bytes, Range rows, const Matrix& matrix) {
  const MatrixView& view = matrix.view;
  const WritableMatrix w = writable(matrix);
  const auto* block =
      reinterpret_cast<const uint8_t*>(bytes) + rows.begin * (view.in / type.elements) * type.bytes;
  float values[kMaxBlock];
  BlockParts parts;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    std::byte* row_data = reinterpret_cast<std::byte*>(w.data) + row * view.row_bytes();
    const int64_t first_scale = row * view.scale_stride;
    const Row to{type, row_data, w.scale + first_scale, w.zero ? w.zero + first_scale : nullptr};
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

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  const StoredTensor& weight = *linear.find("weight");
  if (weight.shape != std::vector<int64_t>{linear.out, linear.in}) {
    return invalid("{}: expected [{}, {}], found {}", linear.where("weight"), linear.out, linear.in,
                   weight.describe());
  }
  TRY(check_type(weight, linear.name("weight")));
  return describe(target_of(*weight.block), linear.out, linear.in);
}

Result<Matrix> load(const StoredLinear& linear, Exec& exec) {
  const StoredTensor& weight = *linear.find("weight");
  Matrix matrix = TRY(allocate_matrix(TRY(describe(linear))));
  exec.parallel(linear.out,
                [&](Range rows, int) { repack(*weight.block, weight.bytes.data(), rows, matrix); });
  return matrix;
}

// kv_b_proj as newer GGUF files have it: for each head W_UK transposed and W_UV, apart.

bool split_claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(prefix + ".weight");
  return weight && weight->shape.size() == 3 && checkpoint.find(prefix + ".weight_v");
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

// Nothing is rounded that the file had exactly, and nothing takes more room than it is worth.
Result<DescribedMatrix> describe_split(const StoredLinear& linear) {
  const StoredTensor& keys = *linear.find("weight");
  const StoredTensor& values = *linear.find("weight_v");
  const int64_t out = linear.out, in = linear.in;
  const int64_t heads = keys.shape[0];
  const int64_t nope = keys.shape[2];
  const int64_t v = heads > 0 ? out / heads - nope : 0;
  const bool fits = keys.shape[1] == in && v > 0 && heads * (nope + v) == out;
  if (!fits || values.shape != std::vector<int64_t>{heads, v, in}) {
    return invalid(
        "{}: attn_k_b and attn_v_b of {} must be [heads, {}, nope] and [heads, v, {}] with {} rows "
        "in all, found {} and {}",
        keys.file->path, linear.prefix, in, in, out, keys.describe(), values.describe());
  }
  const bool wide = keys.dtype == DType::kF32 || keys.dtype == DType::kF16;
  return describe(QuantTarget{wide ? WeightFormat::kF32 : WeightFormat::kBF16}, linear.out,
                  linear.in);
}

Result<Matrix> load_split(const StoredLinear& linear, Exec&) {
  Matrix matrix = TRY(allocate_matrix(TRY(describe_split(linear))));
  const StoredTensor& keys = *linear.find("weight");
  const int64_t heads = keys.shape[0], nope = keys.shape[2], in = linear.in;
  const int64_t v = linear.out / heads - nope;
  const Vector key_values = TRY(to_values(keys, linear.name("weight")));
  const Vector value_values = TRY(to_values(*linear.find("weight_v"), linear.name("weight_v")));
  Vector joined;
  joined.reserve(static_cast<size_t>(linear.out) * static_cast<size_t>(in));
  for (int64_t h = 0; h < heads; ++h) {
    const float* key = key_values.data() + h * in * nope;
    for (int64_t n = 0; n < nope; ++n) {
      for (int64_t k = 0; k < in; ++k) joined.push_back(key[k * nope + n]);
    }
    const float* value = value_values.data() + h * v * in;
    joined.insert(joined.end(), value, value + v * in);
  }
  if (matrix.view.format == WeightFormat::kF32) {
    std::ranges::copy(joined, matrix.data.as<float>());
  } else {
    std::ranges::transform(joined, matrix.data.as<uint16_t>(), float_to_bf16);
  }
  return matrix;
}

}  // namespace

const Format kGgufFormat = {"gguf", claims, describe, load};
const Format kGgufSplitFormat = {"gguf", split_claims, describe_split, load_split};

}  // namespace fathom
