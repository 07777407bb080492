#include "convert/output_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/json.h"
#include "convert/shard_writer.h"
#include "weights/gguf/model_files.h"

namespace fathom::convert {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHfQuantConfig = "hf_quant_config.json";

// Says which conversion this is: the same source, unchanged, and the same options.
OrderedJson mark_of(const Source& source, const Options& o) {
  OrderedJson files = OrderedJson::object();
  for (const auto& [name, tensor] : source.checkpoint->tensors()) {
    if (!tensor.file || files.contains(tensor.file->path)) continue;
    std::error_code error;
    const auto time = fs::last_write_time(tensor.file->path, error).time_since_epoch().count();
    files[tensor.file->path] = {tensor.file->bytes.size(), error ? 0 : time};
  }
  return {{"command", o.command},
          {"source", source.files->location()},
          {"to", o.target ? o.target->name : ""},
          {"group_size", o.format.group_size},
          {"ue8m0", o.format.ue8m0},
          {"calibration", o.calibration.string()},
          {"extract_mtp", o.extract_mtp},
          {"shard_bytes", o.shard_bytes},
          {"files", files}};
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// An existing folder must hold this very conversion, unfinished.
Status check_existing(const fs::path& path, const OrderedJson& mark) {
  const fs::path mark_path = path / kConversionMark;
  std::error_code error;
  if (!fs::exists(mark_path, error)) {
    if (fs::is_empty(path, error) && !error) return {};
    return invalid("{} exists and is not empty; name another folder or remove it", path.string());
  }
  auto read = parse_ordered_json(read_text(mark_path), kConversionMark);
  // Cut off while the mark itself was written: nothing else is there.
  if (!read || !read->is_object()) return {};
  OrderedJson& found = *read;
  OrderedJson expected = mark;
  found.erase("command");
  expected.erase("command");
  if (found == expected) return {};
  return invalid(
      "{} holds an unfinished conversion with another source or other options, or the source has "
      "changed since; remove the folder to begin anew",
      path.string());
}

bool is_small_text(const std::string& name) {
  constexpr std::string_view kMade[] = {"config.json", "model.safetensors.index.json",
                                        kHfQuantConfig, "quant_config.json",
                                        "quantize_config.json"};
  if (std::ranges::find(kMade, name) != std::end(kMade)) return false;
  constexpr std::string_view kEndings[] = {".json", ".jinja", ".txt", ".model", ".py", ".md"};
  return std::ranges::any_of(kEndings, [&](std::string_view end) { return name.ends_with(end); });
}

Result<OrderedJson> config_json(const Source& source, const Options& o,
                                std::span<const std::string> kept) {
  const FileBytes file = TRY(source.files->open("config.json"));
  OrderedJson config = TRY(parse_ordered_json(file.text(), file.path));
  if (!config.is_object()) return invalid("{}: not a JSON object", file.path);
  if (o.extract_mtp) {
    config["architectures"] = {source.config.architecture + "NextN"};
    config["num_hidden_layers"] = 1;
  }
  if (o.target) {
    config.erase("quantization_config");
    config.erase("compression_config");
    OrderedJson quantization = o.target->quantization(kept, o.format);
    const bool half = quantization.is_object() && quantization.value("quant_method", "") == "awq";
    config["torch_dtype"] = half ? "float16" : "bfloat16";
    if (config.contains("dtype")) config["dtype"] = config["torch_dtype"];
    if (!quantization.is_null()) config["quantization_config"] = std::move(quantization);
  }
  return config;
}

// ModelOpt's own file beside config.json, which SGLang looks for.
std::string modelopt_text(std::span<const std::string> kept, const OrderedJson& quantization) {
  OrderedJson excluded = kept;
  excluded.push_back("lm_head");
  return OrderedJson{{"producer", quantization["producer"]},
                     {"quantization",
                      {{"quant_algo", "NVFP4"},
                       {"kv_cache_quant_algo", nullptr},
                       {"group_size", 16},
                       {"exclude_modules", excluded}}}}
             .dump(2) +
         "\n";
}

}  // namespace

std::string shard_name(int32_t number, int32_t count) {
  if (count == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", number, count);
}

Result<OutputFolder> OutputFolder::open(const Source& source, const Options& o, int64_t bytes) {
  std::error_code error;
  fs::create_directories(o.out, error);
  if (error) return invalid("cannot create {}: {}", o.out.string(), error.message());
  const OrderedJson mark = mark_of(source, o);
  TRY(check_existing(o.out, mark));

  int64_t present = 0;
  for (const auto& entry : fs::directory_iterator(o.out, error)) {
    if (entry.is_regular_file(error)) present += static_cast<int64_t>(entry.file_size(error));
  }
  const fs::space_info space = fs::space(o.out, error);
  if (!error && static_cast<int64_t>(space.available) + present < bytes) {
    return fail(ErrorCode::kExhausted, "{} has room for {:.2f} GB, the result takes {:.2f} GB",
                o.out.string(), static_cast<double>(space.available) / 1e9,
                static_cast<double>(bytes) / 1e9);
  }
  TRY(write_file(o.out / kConversionMark, json_text(mark, 2) + "\n"));
  return OutputFolder(o.out);
}

bool OutputFolder::has_shard(const std::string& name, std::span<const OutputTensor> tensors) const {
  std::error_code error;
  if (!fs::exists(path_ / name, error)) return false;
  const auto files = FileSet::folder(path_);
  if (!files) return false;
  const auto file = (*files)->open(name);
  if (!file) return false;
  const auto found = read_safetensors(file->bytes, file->path);
  if (!found || found->size() != tensors.size()) return false;
  return std::ranges::all_of(tensors, [&](const OutputTensor& tensor) {
    const auto place = found->find(tensor.name);
    return place != found->end() && place->second.dtype == tensor.dtype &&
           place->second.shape == tensor.shape;
  });
}

Status OutputFolder::complete(const Source& source, const Options& o,
                              std::span<const std::string> kept,
                              const std::map<std::string, std::string>& weight_map, int64_t bytes) {
  for (const std::string& name : source.files->names()) {
    if (!is_small_text(name)) continue;
    TRY(write_file(path_ / name, TRY(source.files->open(name)).text()));
  }
  const OrderedJson config = TRY(config_json(source, o, kept));
  const OrderedJson quantization = config.value("quantization_config", OrderedJson());
  if (o.target && quantization.is_object() && quantization.contains("quant_algo")) {
    TRY(write_file(path_ / kHfQuantConfig, modelopt_text(kept, quantization)));
  }
  const bool single = weight_map.size() > 0 && weight_map.begin()->second == shard_name(1, 1);
  if (!single) {
    const OrderedJson index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}};
    TRY(write_file(path_ / "model.safetensors.index.json", json_text(index, 2) + "\n"));
  }
  TRY(write_file(path_ / "config.json", json_text(config, 2) + "\n"));
  std::error_code error;
  fs::remove(path_ / kConversionMark, error);
  if (error) return invalid("cannot remove {}: {}", kConversionMark, error.message());
  return flush_folder(path_);
}

}  // namespace fathom::convert
