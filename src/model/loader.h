// From a checkpoint to a Model.
#pragma once

#include <memory>
#include <string>

#include "base/file_set.h"
#include "model/model.h"

namespace fathom {

struct LoadOptions {
  std::string load_format = "auto";  // auto, safetensors, dummy
  std::string quantization;          // --quantization; empty: by the tensors
  uint64_t seed = 0;                 // of dummy weights
  int32_t max_positions = 0;         // rotary tables reach so far
};

// Reads config.json and generation_config.json.
Result<ModelConfig> read_model_config(const FileSet& files, const std::string& json_override);

// Weights stay in the mapped files where they can; the model keeps those alive.
Result<std::unique_ptr<Model>> load_model(const ModelConfig& config, const FileSet& files,
                                          const LoadOptions& options, Compute& compute);

// Bytes of weights that load_model would read or make, from headers alone.
Result<int64_t> count_weight_bytes(const ModelConfig& config, const FileSet& files,
                                   const LoadOptions& options);

}  // namespace fathom
