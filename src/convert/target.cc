#include "convert/target.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/json.h"
#include "convert/int4.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"
#include "weights/quantize.h"

namespace fathom::convert {
namespace {

using Tensors = std::vector<OutputTensor>;

constexpr int64_t kBlock = 128;  // DeepSeek's blocks of FP8 and INT8

int64_t blocks(int64_t n) {
  return (n + kBlock - 1) / kBlock;
}

bool always(const Linear&, const TargetOptions&) {
  return true;
}

Bytes bytes_of(const void* data, int64_t size) {
  const auto* first = static_cast<const std::byte*>(data);
  return {first, first + size};
}

// ---- bf16

Tensors bf16_tensors(const Linear& l, const TargetOptions&) {
  return {{l.prefix + ".weight", DType::kBF16, {l.out, l.in}}};
}

Result<std::vector<Bytes>> bf16_encode(const LayerInput& layer, const TargetOptions&, Exec& exec) {
  const MatrixView& w = layer.weights;
  Bytes out(static_cast<size_t>(int64_t{2} * w.out * w.in));
  auto* to = reinterpret_cast<uint16_t*>(out.data());
  exec.parallel(w.out, [&](Range rows, int) {
    std::vector<float> row(static_cast<size_t>(w.in));
    for (int64_t n = rows.begin; n < rows.end; ++n) {
      dequantize(w, n, n + 1, row.data());
      for (int64_t k = 0; k < w.in; ++k) {
        const float scale = layer.scales.in ? layer.scales.in[k] : 1;
        to[n * w.in + k] = float_to_bf16(row[static_cast<size_t>(k)] * scale);
      }
    }
  });
  std::vector<Bytes> parts;
  parts.push_back(std::move(out));
  return parts;
}

OrderedJson no_quantization(std::span<const std::string>, const TargetOptions&) {
  return nullptr;
}

// ---- fp8 and int8 in blocks of 128 x 128

Tensors block_tensors(const Linear& l, DType codes) {
  return {{l.prefix + ".weight", codes, {l.out, l.in}},
          {l.prefix + ".weight_scale_inv", DType::kF32, {blocks(l.out), blocks(l.in)}}};
}

std::vector<Bytes> codes_and_scales(const Matrix& m) {
  const MatrixView& w = m.view;
  const int64_t scales = (int64_t{w.out} + w.block_out - 1) / w.block_out * w.scale_stride;
  return {bytes_of(w.data, w.bytes()), bytes_of(w.scale, scales * 4)};
}

Tensors fp8_tensors(const Linear& l, const TargetOptions&) {
  return block_tensors(l, DType::kF8E4M3);
}

// As quantize(), with scales rounded up to powers of two.
std::vector<Bytes> fp8_powers_of_two(const MatrixView& w, Exec& exec) {
  Bytes codes(static_cast<size_t>(int64_t{w.out} * w.in));
  Bytes scales(static_cast<size_t>(4 * blocks(w.out) * blocks(w.in)));
  auto* code = reinterpret_cast<uint8_t*>(codes.data());
  auto* scale = reinterpret_cast<float*>(scales.data());
  exec.parallel(blocks(w.out), [&](Range bands, int) {
    std::vector<float> rows(static_cast<size_t>(kBlock * w.in));
    for (int64_t band = bands.begin; band < bands.end; ++band) {
      const int64_t begin = band * kBlock;
      const int64_t end = std::min<int64_t>(begin + kBlock, w.out);
      dequantize(w, begin, end, rows.data());
      for (int64_t b = 0; b < blocks(w.in); ++b) {
        const int64_t first = b * kBlock;
        const int64_t last = std::min<int64_t>(first + kBlock, w.in);
        float largest = 0;
        const auto each = [&](auto&& use) {
          for (int64_t n = begin; n < end; ++n) {
            for (int64_t k = first; k < last; ++k) {
              use(rows[static_cast<size_t>((n - begin) * w.in + k)], n * w.in + k);
            }
          }
        };
        each([&](float x, int64_t) { largest = std::max(largest, std::abs(x)); });
        const float s = largest > 0 ? std::exp2(std::ceil(std::log2(largest / 448.0f))) : 1.0f;
        scale[band * blocks(w.in) + b] = s;
        each([&](float x, int64_t i) { code[i] = float_to_f8e4m3(x / s); });
      }
    }
  });
  return {std::move(codes), std::move(scales)};
}

Result<std::vector<Bytes>> fp8_encode(const LayerInput& layer, const TargetOptions& o, Exec& exec) {
  if (o.ue8m0) return fp8_powers_of_two(layer.weights, exec);
  const QuantTarget blocks{.format = WeightFormat::kF8, .block_out = kBlock, .block_in = kBlock};
  return codes_and_scales(TRY(quantize(layer.weights, blocks, exec)));
}

OrderedJson fp8_quantization(std::span<const std::string>, const TargetOptions& o) {
  OrderedJson json = {{"activation_scheme", "dynamic"},
                      {"fmt", "e4m3"},
                      {"quant_method", "fp8"},
                      {"weight_block_size", {kBlock, kBlock}}};
  if (o.ue8m0) json["scale_fmt"] = "ue8m0";
  return json;
}

Tensors int8_block_tensors(const Linear& l, const TargetOptions&) {
  return block_tensors(l, DType::kI8);
}

Result<std::vector<Bytes>> int8_block_encode(const LayerInput& layer, const TargetOptions&,
                                             Exec& exec) {
  const QuantTarget blocks{.format = WeightFormat::kI8, .block_out = kBlock, .block_in = kBlock};
  return codes_and_scales(TRY(quantize(layer.weights, blocks, exec)));
}

OrderedJson int8_block_quantization(std::span<const std::string>, const TargetOptions&) {
  return {{"activation_scheme", "dynamic"},
          {"quant_method", "blockwise_int8"},
          {"weight_block_size", {kBlock, kBlock}}};
}

// ---- int8 per output channel, described as compressed-tensors

Tensors int8_tensors(const Linear& l, const TargetOptions&) {
  return {{l.prefix + ".weight", DType::kI8, {l.out, l.in}},
          {l.prefix + ".weight_scale", DType::kF32, {l.out, 1}}};
}

Result<std::vector<Bytes>> int8_encode(const LayerInput& layer, const TargetOptions&, Exec& exec) {
  return codes_and_scales(
      TRY(quantize(layer.weights, {.format = WeightFormat::kI8, .block_out = 1}, exec)));
}

OrderedJson int8_quantization(std::span<const std::string> kept, const TargetOptions&) {
  OrderedJson ignore = kept;
  ignore.push_back("lm_head");
  return {{"config_groups",
           {{"group_0",
             {{"input_activations",
               {{"dynamic", true},
                {"num_bits", 8},
                {"strategy", "token"},
                {"symmetric", true},
                {"type", "int"}}},
              {"targets", {"Linear"}},
              {"weights",
               {{"dynamic", false},
                {"num_bits", 8},
                {"strategy", "channel"},
                {"symmetric", true},
                {"type", "int"}}}}}}},
          {"format", "int-quantized"},
          {"ignore", ignore},
          {"quant_method", "compressed-tensors"},
          {"quantization_status", "compressed"}};
}

// ---- nvfp4 as ModelOpt writes it: attention and MTP layers stay BF16

bool nvfp4_takes(const Linear& l, const TargetOptions&) {
  return !l.mtp && l.prefix.find(".self_attn.") == l.prefix.npos && l.in % 16 == 0;
}

Tensors nvfp4_tensors(const Linear& l, const TargetOptions&) {
  return {{l.prefix + ".weight", DType::kU8, {l.out, l.in / 2}},
          {l.prefix + ".weight_scale", DType::kF8E4M3, {l.out, l.in / 16}},
          {l.prefix + ".weight_scale_2", DType::kF32, {}},
          {l.prefix + ".input_scale", DType::kF32, {}}};
}

Result<std::vector<Bytes>> nvfp4_encode(const LayerInput& layer, const TargetOptions&, Exec& exec) {
  const MatrixView& w = layer.weights;
  const float global = fp4_global_scale(layer.shared_largest);
  Bytes codes(static_cast<size_t>(int64_t{w.out} * w.in / 2));
  Bytes scales(static_cast<size_t>(int64_t{w.out} * w.in / 16));
  exec.parallel(w.out, [&](Range rows, int) {
    std::vector<float> row(static_cast<size_t>(w.in));
    for (int64_t n = rows.begin; n < rows.end; ++n) {
      dequantize(w, n, n + 1, row.data());
      quantize_fp4(row.data(), w.in, global,
                   reinterpret_cast<uint8_t*>(codes.data()) + n * w.in / 2,
                   reinterpret_cast<uint8_t*>(scales.data()) + n * w.in / 16);
    }
  });
  constexpr float kInputScale = 1;  // inputs of 0.01 to 2688 are in range
  return std::vector{std::move(codes), std::move(scales), bytes_of(&global, 4),
                     bytes_of(&kInputScale, 4)};
}

OrderedJson nvfp4_quantization(std::span<const std::string> kept, const TargetOptions&) {
  const OrderedJson four_bits = {
      {"dynamic", false}, {"num_bits", 4}, {"type", "float"}, {"group_size", 16}};
  OrderedJson ignore = kept;
  ignore.push_back("lm_head");
  return {{"config_groups",
           {{"group_0",
             {{"input_activations", four_bits}, {"weights", four_bits}, {"targets", {"Linear"}}}}}},
          {"ignore", ignore},
          {"quant_algo", "NVFP4"},
          {"producer", {{"name", "fathom"}}},
          {"quant_method", "modelopt"}};
}

}  // namespace

int64_t OutputTensor::bytes() const {
  int64_t n = static_cast<int64_t>(size_of(dtype));
  for (const int64_t size : shape) n *= size;
  return n;
}

std::span<const Target> targets() {
  static const std::array<Target, 6> rows = {{
      {"bf16", "plain BF16, from any format", always, bf16_tensors, bf16_encode, no_quantization},
      {"fp8", "e4m3 with FP32 scales per 128 x 128 (DeepSeek's)", always, fp8_tensors, fp8_encode,
       fp8_quantization},
      {"int8", "INT8 with a scale per output channel (w8a8_int8, compressed-tensors)", always,
       int8_tensors, int8_encode, int8_quantization},
      {"int8-block", "INT8 with scales per 128 x 128 (blockwise_int8)", always, int8_block_tensors,
       int8_block_encode, int8_block_quantization},
      {"int4", "AWQ: 4 bits, zero points, groups along the input", int4_takes, int4_tensors,
       int4_encode, int4_quantization},
      {"nvfp4", "e2m1 with e4m3 scales per 16 (ModelOpt); attention stays BF16", nvfp4_takes,
       nvfp4_tensors, nvfp4_encode, nvfp4_quantization, /*pairs=*/true},
  }};
  return rows;
}

const Target* target_named(std::string_view name) {
  for (const Target& target : targets()) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

}  // namespace fathom::convert
