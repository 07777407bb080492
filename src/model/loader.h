// From a checkpoint to a Model.
#pragma once

#include <memory>
#include <string>

#include "base/file_set.h"
#include "model/model.h"
#include "weights/quant_method.h"

namespace fathom {

struct LoadOptions {
  std::string load_format = "auto";  // auto, safetensors, dummy
  QuantFlags quant;                  // --quantization, --torchao-config; empty: by the tensors
  uint64_t seed = 0;                 // of dummy weights
  int32_t max_positions = 0;         // rotary tables reach so far
};

// Reads config.json and generation_config.json, and what else may describe the quantisation.
Result<ModelConfig> read_model_config(const FileSet& files, const std::string& json_override);

// Weights stay in the mapped files where they can; the model keeps those alive.
Result<std::unique_ptr<Model>> load_model(const ModelConfig& config, const FileSet& files,
                                          const LoadOptions& options, Compute& compute);

// What load_model would read or make, from headers alone. Contradictions between flags, config and
// tensors are errors here already.
struct WeightSummary {
  int64_t bytes = 0;
  std::string quantization;  // "fp8", ...; empty: plain
};
Result<WeightSummary> summarize_weights(const ModelConfig& config, const FileSet& files,
                                        const LoadOptions& options);

// Bytes that the arena of a step of at most `rows` rows needs.
int64_t scratch_bytes(const ModelConfig& config, int32_t rows);

}  // namespace fathom
