#include "demo_model.h"

// Each file of demo/bf16 as bytes between two symbols, made by demo_files.S.
#define DEMO_FILES(X)                                   \
  X(config, "config.json")                              \
  X(generation_config, "generation_config.json")        \
  X(tokenizer, "tokenizer.json")                        \
  X(tokenizer_config, "tokenizer_config.json")          \
  X(model, "model.safetensors")

#define DECLARE(symbol, name)                              \
  extern "C" const std::byte fathom_demo_##symbol##_begin[]; \
  extern "C" const std::byte fathom_demo_##symbol##_end[];
DEMO_FILES(DECLARE)
#undef DECLARE

namespace fathom {

std::shared_ptr<const FileSet> embedded_demo_model() {
  FileSet::Embedded files;
#define ADD(symbol, name) \
  files.emplace_back(name, std::span(fathom_demo_##symbol##_begin, fathom_demo_##symbol##_end));
  DEMO_FILES(ADD)
#undef ADD
  return FileSet::embedded("<embedded demo model>", std::move(files));
}

}  // namespace fathom
