#include "model/loader.h"

#include <fmt/ranges.h>

#include "base/log.h"
#include "model/deepseek/model.h"
#include "weights/loader.h"

namespace fathom {
namespace {

constexpr size_t kMaxConfigBytes = 16 << 20;

QuantHints hints_of(const ModelConfig& config) {
  return {config.quant_block_out, config.quant_block_in};
}

// The format that a method name asks for; null: the name is unknown here.
const Format* format_named(std::string_view method) {
  for (const Format& format : formats()) {
    if (format.name == method) return &format;
  }
  return nullptr;
}

// Which format dummy weights get: the flag, else config.json, else plain.
Result<const Format*> dummy_format(const ModelConfig& config, const LoadOptions& options) {
  const std::string& method =
      options.quantization.empty() ? config.quant_method : options.quantization;
  const Format* format = format_named(method);
  if (format) return format;
  return fail(ErrorCode::kUnsupported, "quantization method '{}' is not supported by this build",
              method);
}

bool belongs_to_skipped_layer(const std::string& name, int32_t layers) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return false;
  const int64_t layer = std::strtoll(name.c_str() + kPrefix.size(), nullptr, 10);
  return layer >= layers;
}

void warn_of_extras(const CheckpointLoader& loader, const ModelConfig& config) {
  std::vector<std::string> extras;
  for (std::string& name : loader.unvisited()) {
    if (name.ends_with("rotary_emb.inv_freq") || belongs_to_skipped_layer(name, config.layers) ||
        (config.tie_word_embeddings && name == "lm_head.weight")) {
      continue;
    }
    extras.push_back(std::move(name));
  }
  if (extras.empty()) return;
  const size_t shown = std::min<size_t>(extras.size(), 10);
  log::warn("{} tensor(s) of the checkpoint are not used by {}: {}{}", extras.size(),
            config.architecture, fmt::join(extras.begin(), extras.begin() + shown, ", "),
            shown < extras.size() ? ", ..." : "");
}

// The flag, config.json and the tensors must agree; a left-over config on plain weights is healed.
Status check_quantization(const ModelConfig& config, const LoadOptions& options,
                          const CheckpointLoader& loader) {
  const bool plain_only = loader.formats_seen() == std::set<std::string_view>{""};
  const std::string& flag = options.quantization;
  if (!flag.empty() && !loader.formats_seen().contains(flag)) {
    if (plain_only && config.quant_method.empty()) {
      return fail(
          ErrorCode::kUnsupported,
          "--quantization {}: the checkpoint's weights are plain; quantising on load is not "
          "supported by this build, convert the checkpoint first",
          flag);
    }
    return invalid(
        "Quantization method specified in the model config ({}) does not match the "
        "quantization method specified in the `quantization` argument ({}).",
        config.quant_method.empty() ? "none" : config.quant_method, flag);
  }
  if (!flag.empty()) {
    log::info("--quantization {}: the checkpoint has this format already; nothing to do", flag);
  }
  if (!config.quant_method.empty() && plain_only) {
    log::warn(
        "config.json names quantization method '{}', but the weights are plain and have no "
        "scales: the left-over quantization_config is ignored",
        config.quant_method);
  }
  return {};
}

}  // namespace

Result<ModelConfig> read_model_config(const FileSet& files, const std::string& json_override) {
  const FileBytes config = TRY(files.open("config.json"));
  FileBytes generation;
  if (files.has("generation_config.json")) generation = TRY(files.open("generation_config.json"));
  for (const FileBytes* file : std::initializer_list<const FileBytes*>{&config, &generation}) {
    if (file->bytes.size() > kMaxConfigBytes) {
      return invalid("{}: {} bytes is too large (limit {})", file->path, file->bytes.size(),
                     kMaxConfigBytes);
    }
  }
  return ModelConfig::parse(config.text(), generation.text(), json_override);
}

Result<std::unique_ptr<Model>> load_model(const ModelConfig& config, const FileSet& files,
                                          const LoadOptions& options, Compute& compute) {
  deepseek::Weights weights;
  std::shared_ptr<const Checkpoint> checkpoint;
  if (options.load_format == "dummy") {
    const Format* format = TRY(dummy_format(config, options));
    DummyLoader loader(*format, hints_of(config), options.seed, compute.exec());
    deepseek::visit(weights, config, loader);
    TRY(loader.status());
  } else {
    checkpoint = TRY(Checkpoint::open(files));
    CheckpointLoader loader(*checkpoint, hints_of(config));
    deepseek::visit(weights, config, loader);
    if (!config.quant_method.empty() && !format_named(config.quant_method) &&
        !loader.status(files.location())) {
      return fail(ErrorCode::kUnsupported,
                  "quantization method '{}' of config.json is not supported by this build (fp8 is)",
                  config.quant_method);
    }
    TRY(loader.status(files.location()));
    TRY(check_quantization(config, options, loader));
    warn_of_extras(loader, config);
  }
  return deepseek::make_model(config, std::move(weights), std::move(checkpoint), options, compute);
}

Result<int64_t> count_weight_bytes(const ModelConfig& config, const FileSet& files,
                                   const LoadOptions& options) {
  deepseek::Weights none;
  if (options.load_format == "dummy") {
    DummyCounter counter(*TRY(dummy_format(config, options)), hints_of(config));
    deepseek::visit(none, config, counter);
    return counter.bytes;
  }
  const auto checkpoint = TRY(Checkpoint::open(files));
  StoredCounter counter(*checkpoint);
  deepseek::visit(none, config, counter);
  return counter.bytes;
}

}  // namespace fathom
