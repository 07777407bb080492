// What a checkpoint says about its quantised weights: quantization_config or compression_config of
// config.json, else hf_quant_config.json, quant_config.json or quantize_config.json (spec:
// deepseek-model 8 and 9). The tensors themselves decide; this adds what they cannot tell.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_set.h"
#include "base/result.h"

namespace fathom {

struct QuantConfig {
  std::string method;  // as --quantization spells it: "fp8", "modelopt_fp4", ...; empty: none
  std::string source;  // where that stands, for messages: "config.json: quantization_config"
  std::string layout;  // compressed-tensors' `format`: "int-quantized", "pack-quantized", ...

  int32_t block_out = 128;  // FP8 and INT8 blocks
  int32_t block_in = 128;
  int32_t bits = 4;             // AWQ, GPTQ
  int32_t group_size = 0;       // AWQ, GPTQ: columns that share a scale; 0: not told, -1: all
  bool zero_points = true;      // AWQ
  bool zeros_minus_one = true;  // GPTQ: the file has zero - 1 (checkpoint_format "gptq")

  // ignore, exclude_modules, ignored_layers, modules_to_not_convert
  std::vector<std::string> excluded;
  // Is module "model.layers.0.mlp.up_proj" named by one of these? Patterns are module names or
  // parts of them (whole components), globs with *, or "re:" and a regular expression.
  bool excludes(std::string_view module) const;

  // `json` is the object itself. Errors name the source, the field and what is allowed.
  static Result<QuantConfig> parse(std::string_view json, const std::string& source);
  // The companions of config.json, for checkpoints whose config.json says nothing; none: empty.
  static Result<QuantConfig> read_companions(const FileSet& files);
};

}  // namespace fathom
