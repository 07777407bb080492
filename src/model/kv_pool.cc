#include "model/model.h"

namespace fathom {
namespace {

int64_t element_bytes(KvFormat format) {
  return format == KvFormat::kF32 ? 4 : 2;
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
