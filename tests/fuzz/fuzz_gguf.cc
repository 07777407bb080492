// GGUF files: whatever the bytes, a Result; every tensor accepted lies inside the file, metadata
// becomes JSON or an error, and blocks unpack.
#include <cstdlib>

#include "weights/gguf/model_files.h"
#include "weights/gguf/tensor_names.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto file = fathom::read_gguf(bytes, "fuzz");
  const auto tensors = fathom::read_gguf_tensors(bytes, "fuzz");
  if (file.has_value() != tensors.has_value()) std::abort();
  if (!file) return 0;
  for (const auto& [name, tensor] : *tensors) {
    const auto* begin = tensor.bytes.data();
    if (begin < bytes.data() || begin + tensor.bytes.size() > bytes.data() + size) std::abort();
    if (!tensor.block || !tensor.block->take_apart) continue;
    float values[fathom::kMaxBlock];
    const int64_t blocks = tensor.elements() / tensor.block->elements;
    if (blocks * tensor.block->bytes != static_cast<int64_t>(tensor.bytes.size())) std::abort();
    if (blocks > 0) {
      fathom::unpack_block(*tensor.block, reinterpret_cast<const uint8_t*>(begin), values);
    }
  }
  (void)fathom::config_json_of(*file);
  (void)fathom::generation_json_of(*file);
  (void)fathom::tokenizer_json_of(*file);
  (void)fathom::tokenizer_config_json_of(*file);
  return 0;
}
