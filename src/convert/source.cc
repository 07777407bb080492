#include "convert/source.h"

#include <fmt/format.h>

#include <set>

#include "base/some_of.h"
#include "model/deepseek/weights.h"
#include "weights/formats/format.h"
#include "weights/gguf/model_files.h"

namespace fathom::convert {
namespace {

// A visitor that lists the linear layers.
struct LinearLister {
  std::vector<Linear>& linears;
  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix&) {
    linears.push_back({prefix, out, in});
  }
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void table(const std::string&, int32_t, int32_t, Matrix&) {}
  void router(const std::string&, int32_t, int32_t, Matrix&) {}
  void head(const std::string&, int32_t, int32_t, Matrix&) {}
  void vector(const std::string&, int32_t, Vector&) {}
  void kv_scale(const std::string&, float&) {}
};

// Layers of the model and its MTP layers, which look like the last ones.
std::vector<Linear> list_linears(const ModelConfig& config) {
  std::vector<Linear> linears;
  ModelConfig with_mtp = config;
  with_mtp.layers += config.mtp_layers;
  deepseek::Weights none;
  LinearLister lister{linears};
  deepseek::visit(none, with_mtp, lister);
  for (Linear& linear : linears) {
    for (int32_t l = config.layers; l < with_mtp.layers; ++l) {
      linear.mtp |= linear.prefix.starts_with(fmt::format("model.layers.{}.", l));
    }
  }
  return linears;
}

// Drops layers that are not there; those of the model proper are a problem.
Status keep_present(const Checkpoint& checkpoint, const std::string& location,
                    std::vector<Linear>& linears) {
  std::vector<std::string> missing;
  std::vector<Linear> present;
  for (Linear& linear : linears) {
    if (detect_format(checkpoint, linear.prefix)) {
      present.push_back(std::move(linear));
    } else if (!linear.mtp) {
      missing.push_back(linear.prefix + ".weight");
    }
  }
  linears = std::move(present);
  if (missing.empty()) return {};
  return invalid("{}: {} tensors of the model are missing or of a type that is not known: {}",
                 location, missing.size(), some_of(missing));
}

std::string_view prefix_of(std::string_view name) {
  return name.substr(0, name.rfind('.'));
}

// Matrices outside the linear layers that are not plain; adds them to the claimed.
void list_packed(const Checkpoint& checkpoint, std::set<std::string, std::less<>>& claimed,
                 std::vector<Linear>& packed) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!name.ends_with(".weight") || tensor.shape.size() != 2) continue;
    const std::string prefix(prefix_of(name));
    if (claimed.contains(prefix)) continue;
    const Format* format = detect_format(checkpoint, prefix);
    if (!format || format->name.empty()) continue;
    packed.push_back(
        {prefix, static_cast<int32_t>(tensor.shape[0]), static_cast<int32_t>(tensor.shape[1])});
    claimed.insert(prefix);
  }
}

}  // namespace

Result<Source> open_source(const std::filesystem::path& path) {
  Source source;
  source.files = TRY(open_model_files(path));
  source.config = TRY(read_model_config(*source.files, ""));
  source.checkpoint = TRY(Checkpoint::open(*source.files));
  source.linears = list_linears(source.config);
  TRY(keep_present(*source.checkpoint, source.files->location(), source.linears));

  std::set<std::string, std::less<>> claimed;
  for (const Linear& linear : source.linears) claimed.insert(linear.prefix);
  list_packed(*source.checkpoint, claimed, source.packed);
  for (const auto& [name, tensor] : source.checkpoint->tensors()) {
    if (!claimed.contains(prefix_of(name))) source.others.push_back(name);
  }
  return source;
}

Result<Matrix> load_linear(const Source& source, const Linear& linear, Exec& exec) {
  const Format* format = detect_format(*source.checkpoint, linear.prefix);
  const StoredLinear stored{*source.checkpoint, linear.prefix, linear.out, linear.in,
                            source.config.quant};
  TRY(format->describe(stored));  // checks shapes; load() trusts them
  return fathom::load_linear(*format, stored, exec);
}

}  // namespace fathom::convert
