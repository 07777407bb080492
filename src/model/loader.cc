#include "model/loader.h"

#include <fmt/ranges.h>

#include "base/log.h"
#include "model/deepseek/model.h"
#include "weights/dummy.h"
#include "weights/loader.h"

namespace fathom {
namespace {

constexpr size_t kMaxConfigBytes = 16 << 20;

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

Result<QuantPlan> plan_quantization(const ModelConfig& config, const LoadOptions& options,
                                    FormatSurvey& survey) {
  deepseek::Weights none;
  deepseek::visit(none, config, survey);
  QuantPlan plan = TRY(resolve_quantization(config.quant, options.quant, survey));
  plan.head = head_target(options.quant);
  return plan;
}

Status check_head(const ModelConfig& config, const LoadOptions& options) {
  if (!config.tie_word_embeddings || !head_target(options.quant)) return {};
  return invalid(
      "--lm-head-dtype {}: the head of this model is its embedding (tie_word_embeddings), which is "
      "not quantised; leave the flag out",
      options.quant.head);
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
  ModelConfig model = TRY(ModelConfig::parse(config.text(), generation.text(), json_override));
  if (model.quant.method.empty()) model.quant = TRY(QuantConfig::read_companions(files));
  return model;
}

Result<std::unique_ptr<Model>> load_model(const ModelConfig& config, const FileSet& files,
                                          const LoadOptions& options, Compute& compute) {
  TRY(check_head(config, options));
  deepseek::Weights weights;
  std::shared_ptr<const Checkpoint> checkpoint;
  if (options.load_format == "dummy") {
    const QuantTarget target = TRY(dummy_target(config.quant, options.quant));
    DummyLoader loader(target, head_target(options.quant).value_or(QuantTarget{}), config.quant,
                       options.seed, compute.exec());
    deepseek::visit(weights, config, loader);
    TRY(loader.status());
  } else {
    checkpoint = TRY(Checkpoint::open(files));
    FormatSurvey survey(*checkpoint);
    const QuantPlan plan = TRY(plan_quantization(config, options, survey));
    for (const std::string& warning : plan.warnings) log::warn("{}", warning);
    for (const std::string& note : plan.notes) log::info("{}", note);
    CheckpointLoader loader(*checkpoint, config.quant, plan, survey, compute.exec());
    deepseek::visit(weights, config, loader);
    TRY(loader.status(files.location()));
    loader.finish();
    warn_of_extras(loader, config);
  }
  return deepseek::make_model(config, std::move(weights), std::move(checkpoint), options, compute);
}

Result<WeightSummary> summarize_weights(const ModelConfig& config, const FileSet& files,
                                        const LoadOptions& options) {
  TRY(check_head(config, options));
  deepseek::Weights none;
  if (options.load_format == "dummy") {
    DummyCounter counter(TRY(dummy_target(config.quant, options.quant)),
                         head_target(options.quant).value_or(QuantTarget{}), config.quant);
    deepseek::visit(none, config, counter);
    const std::string& flag = options.quant.quantization;
    return WeightSummary{counter.bytes, !options.quant.torchao.empty() ? options.quant.torchao
                                        : !flag.empty()                ? flag
                                                                       : config.quant.method};
  }
  const auto checkpoint = TRY(Checkpoint::open(files));
  FormatSurvey survey(*checkpoint);
  const QuantPlan plan = TRY(plan_quantization(config, options, survey));
  StoredCounter counter(*checkpoint, config.quant, plan);
  deepseek::visit(none, config, counter);
  return WeightSummary{counter.bytes, plan.method};
}

int64_t scratch_bytes(const ModelConfig& config, int32_t rows) {
  return deepseek::scratch_bytes(config, rows);
}

}  // namespace fathom
