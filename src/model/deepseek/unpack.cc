#include "model/deepseek/unpack.h"

#include "tensor/float_formats.h"
#include "weights/formats/format.h"

namespace fathom::deepseek {
namespace {

void put(const Matrix& matrix, int64_t i, float value) {
  std::byte* data = const_cast<std::byte*>(static_cast<const std::byte*>(matrix.view.data));
  if (matrix.view.format == WeightFormat::kF32) {
    reinterpret_cast<float*>(data)[i] = value;
  } else {
    reinterpret_cast<uint16_t*>(data)[i] = float_to_bf16(value);
  }
}

Status make(int32_t out, int32_t in, WeightFormat format, Matrix& matrix) {
  matrix.view = {.data = nullptr, .out = out, .in = in, .format = format};
  matrix.data = TRY(Buffer::allocate_packed(static_cast<size_t>(matrix.view.bytes())));
  matrix.view.data = matrix.data.data();
  return {};
}

}  // namespace

Status unpack_kv_b(const ModelConfig& c, AttentionWeights& a, Exec& exec) {
  const WeightFormat format = unpacked_format(a.kv_b.view.format);
  TRY(make(c.heads * c.kv_lora_rank, c.qk_nope, format, a.key_up));
  TRY(make(c.heads * c.v_head, c.kv_lora_rank, format, a.value_up));
  exec.parallel(c.heads, [&](Range heads, int) {
    Vector row(static_cast<size_t>(c.kv_lora_rank));
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      const int64_t first = h * (c.qk_nope + c.v_head);
      for (int32_t n = 0; n < c.qk_nope; ++n) {
        dequantize(a.kv_b.view, first + n, first + n + 1, row.data());
        for (int32_t i = 0; i < c.kv_lora_rank; ++i) {
          put(a.key_up, (h * c.kv_lora_rank + i) * c.qk_nope + n, row[static_cast<size_t>(i)]);
        }
      }
      for (int32_t n = 0; n < c.v_head; ++n) {
        dequantize(a.kv_b.view, first + c.qk_nope + n, first + c.qk_nope + n + 1, row.data());
        for (int32_t i = 0; i < c.kv_lora_rank; ++i) {
          put(a.value_up, (h * c.v_head + n) * c.kv_lora_rank + i, row[static_cast<size_t>(i)]);
        }
      }
    }
  });
  a.kv_b = {};
  return {};
}

}  // namespace fathom::deepseek
