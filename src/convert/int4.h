// AWQ's 4-bit format in gemm packing (spec: deepseek-model 8.5), with a search for the range of
// each group that loses least.
#pragma once

#include "convert/target.h"

namespace fathom::convert {

bool int4_takes(const Linear& linear, const TargetOptions& options);
std::vector<OutputTensor> int4_tensors(const Linear& linear, const TargetOptions& options);
Result<std::vector<Bytes>> int4_encode(const LayerInput& layer, const TargetOptions& options,
                                       Exec& exec);
nlohmann::ordered_json int4_quantization(std::span<const std::string> kept,
                                         const TargetOptions& options);

struct Int4Group {
  float scale = 0;  // FP16 number
  int32_t zero = 0;
  double error = 0;  // sum of importance * (value - x)^2
};

// The best of several shrunken ranges for n numbers; importance null: all alike. Codes: [n].
Int4Group quantize_int4_group(const float* x, int64_t n, const float* importance, uint8_t* codes);

}  // namespace fathom::convert
