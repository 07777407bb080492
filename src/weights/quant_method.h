// Which quantisation applies: --quantization and --torchao-config, what config.json says, and what
// the tensors are, brought together (spec: deepseek-model 9, server-args 9). The messages are the
// ones that SGLang's users know.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/formats/format.h"
#include "weights/quantize.h"

namespace fathom {

// The flags; empty: not given.
struct QuantFlags {
  std::string quantization;
  std::string torchao;
  std::string head;  // --lm-head-dtype
};

// A visitor that finds which format each linear layer of a checkpoint has.
class FormatSurvey {
 public:
  explicit FormatSurvey(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  void linear(const std::string& prefix, int32_t, int32_t, Matrix&) { see(prefix, true); }
  void source(const std::string& prefix, int32_t, int32_t, Matrix&) { see(prefix, false); }
  void table(const std::string&, int32_t, int32_t, Matrix&) {}
  void router(const std::string&, int32_t, int32_t, Matrix&) {}
  void head(const std::string&, int32_t, int32_t, Matrix&) {}
  void vector(const std::string&, int32_t, Vector&) {}
  void kv_scale(const std::string&, float&) {}

  struct Seen {
    std::string example;  // a layer of this format
    int64_t linears = 0;  // without `source` layers, which are unpacked anyway
  };
  std::map<std::string_view, Seen> formats;  // by name; "" for plain weights

  bool only_plain() const { return formats.size() == 1 && formats.contains(""); }

 private:
  void see(const std::string& prefix, bool quantizable);
  const Checkpoint& checkpoint_;
};

struct QuantPlan {
  std::string method;                  // what the weights are: "fp8", ...; empty: plain
  std::optional<QuantTarget> on_load;  // what linear layers become while loading
  std::optional<QuantTarget> head;     // what the output head becomes; absent: as stored
  std::vector<std::string> warnings;   // to log
  std::vector<std::string> notes;      // likewise, at level INFO

  // Layers of this format are quantised on load.
  bool converts(const Format& format) const;
};

// kUnsupported for methods that nothing here reads, kInvalid where flag, config and tensors
// contradict each other; both name what to do.
Result<QuantPlan> resolve_quantization(const QuantConfig& config, const QuantFlags& flags,
                                       const FormatSurvey& survey);

// What random weights are made in: the flags, else the config, else plain BF16.
Result<QuantTarget> dummy_target(const QuantConfig& config, const QuantFlags& flags);

// --lm-head-dtype: int8 and fp8 have a scale per row, int4 per group of 128; absent: as stored.
std::optional<QuantTarget> head_target(const QuantFlags& flags);

// "int8wo" -> 1 x in INT8, ...; kInvalid with the list of names otherwise.
Result<QuantTarget> torchao_target(const std::string& config);

}  // namespace fathom
