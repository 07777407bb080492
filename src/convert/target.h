// The formats that a checkpoint can be converted to: which tensors a linear layer becomes, their
// bytes, and what config.json says about them. Names and layouts are those that Hugging Face, vLLM
// and SGLang read (spec: deepseek-model 8). One row per format in target.cc.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/source.h"
#include "device/exec.h"
#include "tensor/dtype.h"

namespace fathom::convert {

struct OutputTensor {
  std::string name;
  DType dtype = DType::kBF16;
  std::vector<int64_t> shape;
  int64_t bytes() const;
};

struct TargetOptions {
  int32_t group_size = 128;  // int4: columns that share a scale
  bool ue8m0 = false;        // fp8: scales are powers of two
};

// What calibration found for one layer; null pointers where nothing was.
struct LayerScales {
  const float* in = nullptr;          // [in] column k is multiplied by in[k]
  const float* importance = nullptr;  // [in] mean square of the input of column k
};

// A linear layer on its way.
struct LayerInput {
  MatrixView weights;
  LayerScales scales;
  float shared_largest = 0;  // nvfp4: max|w| of the layers that share a global scale
};

using Bytes = std::vector<std::byte>;

struct Target {
  std::string_view name;
  std::string_view help;
  // Is this layer converted? Others stay or become BF16.
  bool (*takes)(const Linear& linear, const TargetOptions& options);
  std::vector<OutputTensor> (*tensors)(const Linear& linear, const TargetOptions& options);
  // The bytes of each of these tensors.
  Result<std::vector<Bytes>> (*encode)(const LayerInput& layer, const TargetOptions& options,
                                       Exec& exec);
  // quantization_config; null: none. `kept`: the linear layers that were not converted.
  nlohmann::ordered_json (*quantization)(std::span<const std::string> kept,
                                         const TargetOptions& options);
  bool pairs = false;  // gate_proj and up_proj share a global scale
};

std::span<const Target> targets();
const Target* target_named(std::string_view name);

}  // namespace fathom::convert
