// JSON request bodies of every generating route: whatever the bytes, a request or an error.
#include <string>

#include "api/chat.h"
#include "api/completions.h"
#include "api/native.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string body(reinterpret_cast<const char*>(data), size);
  body.reserve(size + 64);
  const fathom::api::Settings settings;
  (void)fathom::api::parse_generate(body, settings);
  (void)fathom::api::parse_completion(body, settings);
  (void)fathom::api::parse_chat(body, settings);
  return 0;
}
