// The checkpoint that is converted or inspected: its files, its config, and what the model would
// read of it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "device/exec.h"
#include "model/loader.h"
#include "weights/checkpoint.h"
#include "weights/matrix.h"

namespace fathom::convert {

// A linear layer, named without ".weight".
struct Linear {
  std::string prefix;
  int32_t out = 0;
  int32_t in = 0;
  bool mtp = false;  // of a multi-token-prediction layer
};

struct Source {
  std::shared_ptr<const FileSet> files;
  ModelConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;
  // In the model's order, MTP layers last; those that the checkpoint lacks entirely (an MTP layer
  // that was left out) are not here.
  std::vector<Linear> linears;
  // Quantised matrices that are never quantised in Hugging Face's formats (an embedding in a GGUF
  // file, an eh_proj): they become BF16 in all conversions.
  std::vector<Linear> packed;
  // The tensors that belong to none of these, by name.
  std::vector<std::string> others;
};

// `path`: what open_model_files() takes. Linear layers without tensors are reported all at once.
Result<Source> open_source(const std::filesystem::path& path);

// The layer's matrix, unpacked or as it lies in the file.
Result<Matrix> load_linear(const Source& source, const Linear& linear, Exec& exec);

}  // namespace fathom::convert
