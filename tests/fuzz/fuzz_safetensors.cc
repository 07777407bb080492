// The safetensors header: whatever the bytes, a Result; every tensor accepted lies inside the file.
#include <cstdlib>

#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto tensors = fathom::read_safetensors(bytes, "fuzz");
  if (!tensors) return 0;
  for (const auto& [name, tensor] : *tensors) {
    const auto* begin = tensor.bytes.data();
    if (begin < bytes.data() || begin + tensor.bytes.size() > bytes.data() + bytes.size()) std::abort();
    if (static_cast<size_t>(tensor.elements()) * fathom::size_of(tensor.dtype) != tensor.bytes.size()) {
      std::abort();
    }
  }
  return 0;
}
