#include "model/model.h"

namespace fathom {
namespace {

int64_t element_bytes(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return 4;
    case KvFormat::kBF16:
      return 2;
    case KvFormat::kF8E4M3:
    case KvFormat::kF8E5M2:
      return 1;
  }
  return 0;
}

}  // namespace

KvLayer KvPool::layer(int32_t l) {
  const int64_t bytes = slots * (latent + rope) * element_bytes(format);
  return {data.data() + l * bytes, format, latent, rope};
}

int64_t KvPool::bytes_per_token(const ModelConfig& config, KvFormat format) {
  return int64_t{config.layers} * (config.kv_lora_rank + config.qk_rope) * element_bytes(format);
}

Result<KvPool> KvPool::allocate(const ModelConfig& config, KvFormat format, int64_t slots) {
  KvPool pool{.data = {},
              .format = format,
              .slots = slots,
              .layers = config.layers,
              .latent = config.kv_lora_rank,
              .rope = config.qk_rope};
  pool.data = TRY(Buffer::allocate(static_cast<size_t>(slots * bytes_per_token(config, format))));
  return pool;
}

}  // namespace fathom
