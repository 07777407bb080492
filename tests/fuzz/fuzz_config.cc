// config.json and generation_config.json, split at the first zero byte.
#include <cstdlib>

#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.find('\0');
  const std::string_view generation = cut == std::string_view::npos ? "" : text.substr(cut + 1);
  const auto config = fathom::ModelConfig::parse(text.substr(0, cut), generation, "");
  if (!config) return 0;
  if (config->hidden < 1 || config->layers < 1 || config->gate.top_k > config->gate.experts) std::abort();
  return 0;
}
