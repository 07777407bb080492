#include "convert/inspect.h"

#include <fmt/format.h>

#include <numeric>

#include "base/json.h"
#include "model/deepseek/weights.h"
#include "model/loader.h"
#include "weights/formats/format.h"
#include "weights/gguf/block_types.h"
#include "weights/gguf/model_files.h"
#include "weights/loader.h"

namespace fathom::convert {
namespace {

// Part of the model by the name of a weight.
std::string_view part_of(std::string_view name) {
  const auto has = [&](std::string_view word) { return name.find(word) != name.npos; };
  if (has(".self_attn.")) return "attention";
  if (has(".mlp.experts.")) return "routed experts";
  if (has(".mlp.shared_experts.")) return "shared experts";
  if (has(".mlp.gate") && !has("gate_proj")) return "router";
  if (has(".mlp.")) return "dense MLP";
  if (has("embed_tokens")) return "embedding";
  if (has("lm_head")) return "head";
  return "norms";
}

// Adds up every visited weight; a second visitor below finds the problems.
class Counter {
 public:
  Counter(const Checkpoint& checkpoint, const ModelConfig& config, Inspection& result)
      : checkpoint_(checkpoint), config_(config), result_(result) {}

  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    add(prefix, int64_t{out} * in);
  }
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void head(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void vector(const std::string& name, int32_t n, Vector&) {
    add(name.substr(0, name.rfind('.')), n, name);
  }
  void kv_scale(const std::string&, float&) {}

 private:
  // Bytes of the weight's tensors: all below "prefix.", or the one named.
  int64_t stored_bytes(const std::string& prefix, const std::string& name,
                       std::string& format) const {
    int64_t bytes = 0;
    const std::string first = prefix + ".";
    const auto& tensors = checkpoint_.tensors();
    for (auto i = tensors.lower_bound(first); i != tensors.end() && i->first.starts_with(first);
         ++i) {
      if (!name.empty() && i->first != name) continue;
      // "mlp.gate" has a bias besides its weight, which is visited by itself.
      if (name.empty() && i->first.ends_with("_bias")) continue;
      const StoredTensor& tensor = i->second;
      bytes += static_cast<int64_t>(tensor.bytes.size());
      if (format.empty() && (!name.empty() || i->first == first + "weight")) {
        format = tensor.block ? tensor.block->name : name_of(tensor.dtype);
      }
    }
    const Format* known = name.empty() ? detect_format(checkpoint_, prefix) : nullptr;
    if (known && !known->name.empty() && known->name != "gguf") format = known->name;
    return bytes;
  }

  Part& part(std::string_view name) {
    for (Part& part : result_.parts) {
      if (part.name == name) return part;
    }
    return result_.parts.emplace_back(Part{.name = std::string(name), .formats = {}});
  }

  void add(const std::string& prefix, int64_t parameters, const std::string& name = "") {
    const std::string_view kind = part_of(name.empty() ? prefix : name);
    std::string format;
    const int64_t bytes = stored_bytes(prefix, name, format);
    if (bytes == 0) return;  // missing: a problem
    double share = 1;
    if (kind == "routed experts") {
      share = static_cast<double>(config_.gate.top_k) / config_.gate.experts;
    } else if (kind == "embedding") {
      share = 1.0 / config_.vocab_size;  // one row
      if (config_.tie_word_embeddings) share += 1;
    }
    Part& to = part(kind);
    to.parameters += parameters;
    to.active_parameters += share * static_cast<double>(parameters);
    to.formats[format] += bytes;
    to.bytes_per_token += share * static_cast<double>(bytes);
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  Inspection& result_;
};

// Loads every weight and lets go of it, so that the loader says what is wrong.
class ProblemFinder {
 public:
  explicit ProblemFinder(CheckpointLoader& loader) : loader_(loader) {}
  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    Matrix matrix;
    loader_.linear(prefix, out, in, matrix);
  }
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    Matrix matrix;
    loader_.source(prefix, out, in, matrix);
  }
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    Matrix matrix;
    loader_.table(prefix, out, in, matrix);
  }
  void router(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    Matrix matrix;
    loader_.router(prefix, out, in, matrix);
  }
  void head(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    Matrix matrix;
    loader_.head(prefix, out, in, matrix);
  }
  void vector(const std::string& name, int32_t n, Vector&) {
    Vector vector;
    loader_.vector(name, n, vector);
  }
  void kv_scale(const std::string& prefix, float&) {
    float scale = 1;
    loader_.kv_scale(prefix, scale);
  }

 private:
  CheckpointLoader& loader_;
};

// A message of several lines as a list: the first line is its heading.
void add_lines(const std::string& message, std::vector<std::string>& problems) {
  size_t begin = message.find("\n  ");
  if (begin == message.npos) return problems.push_back(message);
  while (begin != message.npos) {
    begin += 3;
    const size_t end = message.find("\n  ", begin);
    problems.push_back(message.substr(begin, end == message.npos ? end : end - begin));
    begin = end;
  }
}

void find_weight_problems(const Checkpoint& checkpoint, Inspection& result) {
  deepseek::Weights none;
  FormatSurvey survey(checkpoint);
  deepseek::visit(none, result.config, survey);
  const auto plan = resolve_quantization(result.config.quant, {}, survey);
  if (!plan) return result.problems.push_back(plan.error().message);
  result.problems.insert(result.problems.end(), plan->warnings.begin(), plan->warnings.end());
  const auto exec = Exec::create({.threads = 0, .cores = {}});
  CheckpointLoader loader(checkpoint, result.config.quant, *plan, survey, *exec);
  ProblemFinder finder(loader);
  deepseek::visit(none, result.config, finder);
  if (const auto status = loader.status(result.location); !status) {
    add_lines(status.error().message, result.problems);
  }
}

void find_other_problems(const FileSet& files, Inspection& result) {
  if (const auto tokenizer = files.open("tokenizer.json"); !tokenizer) {
    result.problems.push_back(tokenizer.error().message);
  }
}

double sum(const std::vector<Part>& parts, auto&& value) {
  return std::accumulate(parts.begin(), parts.end(), 0.0, [&](double total, const Part& part) {
    return total + static_cast<double>(value(part));
  });
}

std::string formats_text(const Part& part) {
  std::string text;
  for (const auto& [format, bytes] : part.formats) {
    text += (text.empty() ? "" : ", ") +
            fmt::format("{} {:.3f} GB", format, static_cast<double>(bytes) / 1e9);
  }
  return text;
}

}  // namespace

int64_t Part::bytes() const {
  int64_t total = 0;
  for (const auto& [format, bytes] : formats) total += bytes;
  return total;
}

Result<Inspection> inspect(const std::filesystem::path& path) {
  Inspection result;
  result.location = path.string();
  const auto files = TRY(open_model_files(path));
  result.config = TRY(read_model_config(*files, ""));
  result.kv_bytes_per_token = KvPool::bytes_per_token(result.config, KvFormat::kBF16);
  find_other_problems(*files, result);
  const auto checkpoint = Checkpoint::open(*files);
  if (!checkpoint) {
    result.problems.push_back(checkpoint.error().message);
    return result;
  }
  deepseek::Weights none;
  Counter counter(**checkpoint, result.config, result);
  deepseek::visit(none, result.config, counter);
  find_weight_problems(**checkpoint, result);
  return result;
}

std::string Inspection::to_text() const {
  const ModelConfig& c = config;
  std::string text = fmt::format(
      "{}\n{}: {} layers, hidden {}, {} heads, latent {} + {}, vocabulary {}, context {}\n",
      location, c.architecture, c.layers, c.hidden, c.heads, c.kv_lora_rank, c.qk_rope,
      c.vocab_size, c.max_position);
  if (c.gate.experts > 0) {
    text += fmt::format("{} experts, {} per token, {} shared, {} leading dense layer(s)\n",
                        c.gate.experts, c.gate.top_k, c.shared_experts, c.first_dense_layers);
  }
  text += fmt::format("\n{:16} {:>12} {:>12} {:>14}  {}\n", "part", "parameters", "active",
                      "bytes a token", "formats");
  for (const Part& part : parts) {
    text += fmt::format("{:16} {:>10.4f} B {:>10.4f} B {:>11.4f} GB  {}\n", part.name,
                        static_cast<double>(part.parameters) / 1e9, part.active_parameters / 1e9,
                        part.bytes_per_token / 1e9, formats_text(part));
  }
  text += fmt::format("{:16} {:>10.4f} B {:>10.4f} B {:>11.4f} GB  {:.3f} GB\n", "total",
                      sum(parts, [](const Part& p) { return p.parameters; }) / 1e9,
                      sum(parts, [](const Part& p) { return p.active_parameters; }) / 1e9,
                      sum(parts, [](const Part& p) { return p.bytes_per_token; }) / 1e9,
                      sum(parts, [](const Part& p) { return p.bytes(); }) / 1e9);
  text += fmt::format("\nKV cache: {} bytes per token (BF16)\n", kv_bytes_per_token);
  text +=
      problems.empty() ? "no problems found\n" : fmt::format("{} problem(s):\n", problems.size());
  for (const std::string& problem : problems) text += "  " + problem + "\n";
  return text;
}

std::string Inspection::to_json() const {
  OrderedJson list = OrderedJson::array();
  for (const Part& part : parts) {
    list.push_back({{"name", part.name},
                    {"parameters", part.parameters},
                    {"active_parameters", std::llround(part.active_parameters)},
                    {"bytes", part.bytes()},
                    {"bytes_per_token", std::llround(part.bytes_per_token)},
                    {"formats", part.formats}});
  }
  const OrderedJson json = {
      {"location", location},
      {"architecture", config.architecture},
      {"layers", config.layers},
      {"hidden_size", config.hidden},
      {"experts", config.gate.experts},
      {"experts_per_token", config.gate.top_k},
      {"context_length", config.max_position},
      {"parameters", std::llround(sum(parts, [](const Part& p) { return p.parameters; }))},
      {"active_parameters",
       std::llround(sum(parts, [](const Part& p) { return p.active_parameters; }))},
      {"bytes", std::llround(sum(parts, [](const Part& p) { return p.bytes(); }))},
      {"bytes_per_token",
       std::llround(sum(parts, [](const Part& p) { return p.bytes_per_token; }))},
      {"kv_bytes_per_token", kv_bytes_per_token},
      {"parts", list},
      {"problems", problems}};
  return json_text(json, 2);
}

}  // namespace fathom::convert
