#include "weights/quant_method.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>

namespace fathom {
namespace {

constexpr WeightFormat kF8 = WeightFormat::kF8;
constexpr WeightFormat kI8 = WeightFormat::kI8;
constexpr WeightFormat kI4 = WeightFormat::kI4;
constexpr WeightFormat kFp4 = WeightFormat::kFp4;

QuantTarget f8_blocks(const QuantConfig& c) {
  return {kF8, c.block_out, c.block_in};
}
QuantTarget f8_channels(const QuantConfig&) {
  return {kF8, 1, 0};
}
QuantTarget f8_tensor(const QuantConfig&) {
  return {kF8, 0, 0};
}
QuantTarget i8_blocks(const QuantConfig& c) {
  return {kI8, c.block_out, c.block_in};
}
QuantTarget i8_channels(const QuantConfig&) {
  return {kI8, 1, 0};
}
QuantTarget i8_groups(const QuantConfig&) {
  return {kI8, 1, 32};
}
QuantTarget groups(const QuantConfig& c) {
  const int32_t size = c.group_size == 0 ? 128 : std::max(c.group_size, 0);
  if (c.bits == 8) return {kI8, 1, size};
  return {kI4, 1, size, c.method != "gptq" && c.zero_points};
}
QuantTarget nvfp4(const QuantConfig&) {
  return {kFp4, 1, 16};
}
QuantTarget compressed(const QuantConfig& c) {
  if (c.layout == "pack-quantized") return groups(c);
  if (c.layout == "nvfp4-pack-quantized") return nvfp4(c);
  return c.layout == "float-quantized" ? f8_channels(c) : i8_channels(c);
}

// The methods of --quantization and quant_method.
struct Method {
  std::string_view name;
  std::array<std::string_view, 4> formats;  // that its layers may have, beside plain ones
  QuantTarget (*target)(const QuantConfig&);
  bool on_load = false;  // plain weights can become it while loading
};
constexpr Method kMethods[] = {
    {"fp8", {"fp8"}, f8_blocks, true},
    {"w8a8_fp8", {"fp8"}, f8_channels, true},
    {"w8a8_int8", {"w8a8_int8"}, i8_channels, true},
    {"blockwise_int8", {"blockwise_int8"}, i8_blocks, true},
    {"awq", {"awq"}, groups},
    {"awq_marlin", {"awq"}, groups},
    {"gptq", {"gptq"}, groups},
    {"gptq_marlin", {"gptq"}, groups},
    {"moe_wna16", {"awq", "gptq"}, groups},
    {"modelopt", {"modelopt_fp4", "fp8"}, nvfp4},
    {"modelopt_fp4", {"modelopt_fp4", "fp8"}, nvfp4},
    {"modelopt_fp8", {"fp8"}, f8_tensor},
    {"modelopt_mixed", {"modelopt_fp4", "fp8"}, nvfp4},
    {"gguf", {"gguf"}, i8_groups},
    {"compressed-tensors", {"fp8", "w8a8_int8", "pack-quantized", "modelopt_fp4"}, compressed},
};

const Method* find_method(std::string_view name) {
  for (const Method& method : kMethods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

bool allows(const Method& method, std::string_view format) {
  return format.empty() ||
         std::find(method.formats.begin(), method.formats.end(), format) != method.formats.end();
}

// Names that mean the same files.
bool compatible(std::string_view flag, std::string_view config) {
  constexpr std::array<std::string_view, 4> kFamilies[] = {
      {"awq", "awq_marlin", "moe_wna16"},
      {"gptq", "gptq_marlin", "moe_wna16"},
      {"compressed-tensors", "w8a8_int8", "w8a8_fp8"},
      {"modelopt", "modelopt_fp4", "modelopt_fp8", "modelopt_mixed"},
  };
  if (flag == config) return true;
  return std::any_of(std::begin(kFamilies), std::end(kFamilies), [&](const auto& family) {
    const auto has = [&](std::string_view name) {
      return std::find(family.begin(), family.end(), name) != family.end();
    };
    return has(flag) && has(config);
  });
}

std::unexpected<Error> not_supported(std::string_view method, std::string_view source) {
  std::vector<std::string_view> names;
  for (const Method& known : kMethods) names.push_back(known.name);
  return fail(ErrorCode::kUnsupported,
              "quantization method '{}' is not supported (from {}; supported: {})", method, source,
              fmt::join(names, ", "));
}

std::unexpected<Error> mismatch(const QuantConfig& config, std::string_view flag) {
  return invalid(
      "Quantization method specified in the model config ({}) does not match the quantization "
      "method specified in the `quantization` argument ({}).",
      config.method, flag);
}

// The first format that the method does not allow.
const std::pair<const std::string_view, FormatSurvey::Seen>* stranger(const Method& method,
                                                                      const FormatSurvey& survey) {
  for (const auto& entry : survey.formats) {
    if (!allows(method, entry.first)) return &entry;
  }
  return nullptr;
}

std::string only_format(const FormatSurvey& survey) {
  std::string name;
  for (const auto& [format, seen] : survey.formats) {
    if (!format.empty()) name += (name.empty() ? "" : " + ") + std::string(format);
  }
  return name;
}

Result<QuantPlan> quantize_plain(const QuantTarget& target, std::string method,
                                 const std::string& option) {
  QuantPlan plan;
  plan.notes.push_back(
      fmt::format("{}: linear layers are quantised while they are loaded", option));
  plan.method = std::move(method);
  plan.on_load = target;
  return plan;
}

Result<QuantPlan> resolve_torchao(const QuantFlags& flags, const FormatSurvey& survey) {
  const QuantTarget target = TRY(torchao_target(flags.torchao));
  if (!flags.quantization.empty()) {
    return invalid("--torchao-config {} and --quantization {} exclude each other", flags.torchao,
                   flags.quantization);
  }
  if (!survey.only_plain()) {
    return invalid(
        "--torchao-config {} quantises BF16, FP16 or FP32 weights, but the checkpoint is already "
        "quantised ({}); leave the flag out",
        flags.torchao, only_format(survey));
  }
  return quantize_plain(target, flags.torchao, "--torchao-config " + flags.torchao);
}

// Without a flag: the config and the tensors.
Result<QuantPlan> resolve_config(const QuantConfig& config, const FormatSurvey& survey) {
  QuantPlan plan;
  plan.method = only_format(survey);
  if (config.method.empty()) {
    if (!plan.method.empty() && plan.method != "gguf") {
      plan.warnings.push_back(
          fmt::format("config.json has no quantization_config, but the tensors are in format "
                      "'{}': it is used",
                      plan.method));
    }
    return plan;
  }
  if (survey.only_plain()) {
    plan.warnings.push_back(
        fmt::format("{} names quantization method '{}', but the weights are plain and have no "
                    "scales: the left-over quantization_config is ignored",
                    config.source, config.method));
    return plan;
  }
  const Method* method = find_method(config.method);
  if (!method) return not_supported(config.method, config.source);
  if (const auto* wrong = stranger(*method, survey)) {
    return invalid(
        "{} names quantization method '{}', but {} has the tensors of '{}'. Correct quant_method, "
        "or ignore it with --json-model-override-args '{{\"quantization_config\": null}}'.",
        config.source, config.method, wrong->second.example, wrong->first);
  }
  plan.method = config.method;
  return plan;
}

}  // namespace

void FormatSurvey::see(const std::string& prefix, bool quantizable) {
  const Format* format = detect_format(checkpoint_, prefix);
  if (!format) return;
  Seen& seen = formats[format->name];
  if (seen.example.empty()) seen.example = prefix;
  if (quantizable) ++seen.linears;
}

bool QuantPlan::converts(const Format& format) const {
  return on_load && (format.name.empty() || (format.name == "fp8" && on_load->format != kF8));
}

Result<QuantPlan> resolve_quantization(const QuantConfig& config, const QuantFlags& flags,
                                       const FormatSurvey& survey) {
  if (!flags.torchao.empty()) return resolve_torchao(flags, survey);
  const std::string& flag = flags.quantization;
  if (flag.empty()) return resolve_config(config, survey);
  const Method* method = find_method(flag);
  if (!method) return not_supported(flag, "--quantization");
  if (survey.formats.empty()) return QuantPlan{.method = flag};  // loading says what is missing

  const std::string option = "--quantization " + flag;
  const bool fp8_only =
      std::all_of(survey.formats.begin(), survey.formats.end(),
                  [](const auto& entry) { return entry.first.empty() || entry.first == "fp8"; });
  if (survey.only_plain()) {
    if (!method->on_load) {
      return fail(ErrorCode::kUnsupported,
                  "{}: the checkpoint's weights are plain (BF16, FP16 or FP32), and this format is "
                  "not made while loading; convert the checkpoint first (fathom convert), or use "
                  "--quantization fp8, w8a8_int8 or blockwise_int8",
                  option);
    }
    return quantize_plain(method->target(config), flag, option);
  }
  if (flag == "w8a8_int8" && fp8_only) {
    return quantize_plain(method->target(config), flag, option);
  }
  if (!config.method.empty() && !compatible(flag, config.method)) return mismatch(config, flag);
  if (const auto* wrong = stranger(*method, survey)) {
    return invalid("{}: {} has the tensors of '{}'; leave the flag out or name that format", option,
                   wrong->second.example, wrong->first);
  }
  QuantPlan plan{.method = flag};
  plan.notes.push_back(
      fmt::format("{}: the checkpoint has this format already; nothing to do", option));
  return plan;
}

Result<QuantTarget> dummy_target(const QuantConfig& config, const QuantFlags& flags) {
  if (!flags.torchao.empty()) return torchao_target(flags.torchao);
  const bool named = !flags.quantization.empty();
  const std::string& name = named ? flags.quantization : config.method;
  if (name.empty()) return QuantTarget{};
  const Method* method = find_method(name);
  if (!method) return not_supported(name, named ? "--quantization" : config.source);
  return method->target(config);
}

std::optional<QuantTarget> head_target(const QuantFlags& flags) {
  if (flags.head == "int8") return QuantTarget{kI8, 1, 0};
  if (flags.head == "fp8") return QuantTarget{kF8, 1, 0};
  if (flags.head == "int4") return QuantTarget{kI4, 1, 128, true};
  return std::nullopt;
}

Result<QuantTarget> torchao_target(const std::string& name) {
  constexpr std::pair<std::string_view, QuantTarget> kTargets[] = {
      {"int8wo", {kI8, 1, 0}},
      {"int8dq", {kI8, 1, 0}},
      {"int4wo-32", {kI4, 1, 32, true}},
      {"int4wo-64", {kI4, 1, 64, true}},
      {"int4wo-128", {kI4, 1, 128, true}},
      {"int4wo-256", {kI4, 1, 256, true}},
      {"fp8wo", {kF8, 1, 0}},
      {"fp8dq", {kF8, 0, 0}},
      {"fp8dq-per_tensor", {kF8, 0, 0}},
      {"fp8dq-per_row", {kF8, 1, 0}},
  };
  std::vector<std::string_view> names;
  for (const auto& [known, target] : kTargets) {
    if (known == name) return target;
    names.push_back(known);
  }
  return invalid("--torchao-config: '{}' is not one of {}", name, fmt::join(names, ", "));
}

}  // namespace fathom
