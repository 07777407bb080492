#include "weights/quant_config.h"

#include <algorithm>
#include <array>
#include <regex>

#include "base/json.h"

namespace fathom {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;
constexpr size_t kMaxPatterns = 100'000;
constexpr size_t kMaxPattern = 512;

// Reads fields of the object; the first problem is kept.
class Reader {
 public:
  Reader(const Json& json, const std::string& source) : json_(json), source_(source) {}

  // The first of these names that is there and not null.
  const Json* find(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (json_.contains(name) && !json_[name].is_null()) return &json_[name];
    }
    return nullptr;
  }
  void text(const char* name, std::string& out) {
    const Json* value = find({name});
    if (!value) return;
    if (!value->is_string()) return problem(name, "must be a string", *value);
    out = value->get<std::string>();
  }
  void boolean(const char* name, bool& out) {
    const Json* value = find({name});
    if (!value) return;
    if (!value->is_boolean()) return problem(name, "must be true or false", *value);
    out = value->get<bool>();
  }
  void integer(std::initializer_list<const char*> names, int32_t& out, int64_t low, int64_t high) {
    const Json* value = find(names);
    if (!value) return;
    if (!value->is_number_integer() || value->get<int64_t>() < low ||
        value->get<int64_t>() > high) {
      return problem(*names.begin(), fmt::format("must be an integer in [{}, {}]", low, high),
                     *value);
    }
    out = value->get<int32_t>();
  }
  void problem(const char* name, const std::string& what, const Json& found) {
    if (!error_.empty()) return;
    error_ =
        fmt::format("{}: \"{}\" {}, found {}", source_, name, what, json_text(found).substr(0, 80));
  }
  const Json& json() const { return json_; }
  Status status() const {
    if (error_.empty()) return {};
    return std::unexpected(Error{ErrorCode::kInvalid, error_});
  }

 private:
  const Json& json_;
  const std::string& source_;
  std::string error_;
};

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  return text;
}

// ModelOpt's algorithms by the names of --quantization.
std::string modelopt_method(const std::string& algorithm) {
  const std::string name = upper(algorithm);
  if (name.find("FP4") != std::string::npos) return "modelopt_fp4";
  if (name.find("FP8") != std::string::npos) return "modelopt_fp8";
  if (name == "MIXED_PRECISION") return "modelopt_mixed";
  return name.empty() ? "" : "modelopt " + algorithm;
}

void read_blocks(Reader& r, QuantConfig& c) {
  const Json* sizes = r.find({"weight_block_size"});
  if (!sizes) return;
  const auto is_size = [](const Json& size) {
    return size.is_number_unsigned() && size.get<uint64_t>() >= 1 && size.get<uint64_t>() <= 65536;
  };
  if (!sizes->is_array() || sizes->size() != 2 || !is_size((*sizes)[0]) || !is_size((*sizes)[1]) ||
      (*sizes)[1].get<int32_t>() % 32 != 0) {
    return r.problem("weight_block_size",
                     "must be two sizes up to 65536, the second a multiple of 32", *sizes);
  }
  c.block_out = (*sizes)[0].get<int32_t>();
  c.block_in = (*sizes)[1].get<int32_t>();
}

void read_excluded(Reader& r, QuantConfig& c) {
  for (const char* name :
       {"ignore", "exclude_modules", "ignored_layers", "modules_to_not_convert"}) {
    const Json* list = r.find({name});
    if (!list) continue;
    if (!list->is_array() || list->size() > kMaxPatterns) {
      return r.problem(name, "must be a list of module names", *list);
    }
    for (const Json& item : *list) {
      if (!item.is_string() || item.get_ref<const std::string&>().size() > kMaxPattern) {
        return r.problem(name, fmt::format("must hold names of up to {} bytes", kMaxPattern), item);
      }
      std::string pattern = item.get<std::string>();
      if (pattern.starts_with("re:")) {
        try {
          const std::regex valid(pattern.substr(3));
        } catch (const std::regex_error&) {
          return r.problem(name, "must hold valid regular expressions", item);
        }
      }
      c.excluded.push_back(std::move(pattern));
    }
  }
}

void read_groups(Reader& r, QuantConfig& c) {
  if (c.method == "awq") {
    r.integer({"bits", "w_bit"}, c.bits, 4, 4);
    r.integer({"group_size", "q_group_size"}, c.group_size, -1, 1 << 20);
    r.boolean("zero_point", c.zero_points);
    std::string version = "gemm";
    r.text("version", version);
    if (upper(version) != "GEMM") {
      r.problem("version", "must be \"gemm\": other packings are not supported", version);
    }
  }
  if (c.method == "gptq") {
    r.integer({"bits"}, c.bits, 2, 8);
    if (c.bits != 4 && c.bits != 8) r.problem("bits", "must be 4 or 8", c.bits);
    r.integer({"group_size"}, c.group_size, -1, 1 << 20);
    std::string layout = "gptq";
    r.text("checkpoint_format", layout);
    if (layout != "gptq" && layout != "gptq_v2") {
      r.problem("checkpoint_format", "must be \"gptq\" or \"gptq_v2\"", layout);
    }
    c.zeros_minus_one = layout == "gptq";
  }
  if (c.group_size == 0) return;
  const bool fits = c.group_size == -1 || c.group_size % 16 == 0;
  if (!fits) r.problem("group_size", "must be -1 or a multiple of 16", c.group_size);
}

// compressed-tensors: sizes of the first group of weights, and of all where they agree.
void read_compressed(Reader& r, QuantConfig& c) {
  r.text("format", c.layout);
  const Json* groups = r.find({"config_groups"});
  if (!groups || !groups->is_object()) return;
  for (const auto& [name, group] : groups->items()) {
    if (!group.is_object() || !group.contains("weights") || !group["weights"].is_object()) continue;
    Reader weights(group["weights"], "config_groups");
    weights.integer({"num_bits"}, c.bits, 1, 16);
    const Json* structure = weights.find({"block_structure"});
    if (!structure || !structure->is_array() || structure->size() != 2) continue;
    const Json sizes = {{"weight_block_size", *structure}};
    Reader blocks(sizes, "config_groups");
    read_blocks(blocks, c);
  }
}

// fnmatch with * only: any characters, dots too.
bool glob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool matches(std::string_view pattern, std::string_view module) {
  if (pattern.starts_with("re:")) {
    const std::regex expression(pattern.begin() + 3, pattern.end());
    return std::regex_search(module.begin(), module.end(), expression,
                             std::regex_constants::match_continuous);
  }
  if (pattern.find('*') != std::string_view::npos) {
    constexpr std::string_view kRoot = "model.";
    return glob(pattern, module) ||
           (module.starts_with(kRoot) && glob(pattern, module.substr(kRoot.size())));
  }
  while (pattern.ends_with('.')) pattern.remove_suffix(1);
  if (pattern.empty()) return false;
  const std::string inside = "." + std::string(module) + ".";
  return inside.find("." + std::string(pattern) + ".") != std::string::npos;
}

}  // namespace

bool QuantConfig::excludes(std::string_view module) const {
  return std::any_of(excluded.begin(), excluded.end(),
                     [&](const std::string& pattern) { return matches(pattern, module); });
}

Result<QuantConfig> QuantConfig::parse(std::string_view text, const std::string& source) {
  const Json json = TRY(parse_json_object(text, source));
  QuantConfig c;
  c.source = source;
  Reader r(json, source);
  std::string algorithm;
  r.text("quant_method", c.method);
  r.text("quant_algo", algorithm);
  if (c.method.empty() || c.method == "modelopt") {
    const std::string named = modelopt_method(algorithm);
    if (!named.empty()) c.method = named;
  }
  if (c.method == "compressed_tensors") c.method = "compressed-tensors";
  // AutoAWQ's and AutoGPTQ's own files do not name their method.
  if (c.method.empty() && r.find({"w_bit", "q_group_size"})) c.method = "awq";
  if (c.method.empty() && r.find({"desc_act"})) c.method = "gptq";
  read_blocks(r, c);
  read_groups(r, c);
  read_excluded(r, c);
  if (c.method == "compressed-tensors") read_compressed(r, c);
  TRY(r.status());
  return c;
}

Result<QuantConfig> QuantConfig::read_companions(const FileSet& files) {
  constexpr std::array kNames = {"hf_quant_config.json", "quant_config.json",
                                 "quantize_config.json"};
  for (const char* name : kNames) {
    if (!files.has(name)) continue;
    const FileBytes file = TRY(files.open(name));
    if (file.bytes.size() > kMaxFileBytes) {
      return invalid("{}: {} bytes is too large (limit {})", file.path, file.bytes.size(),
                     kMaxFileBytes);
    }
    const Json json = TRY(parse_json_object(file.text(), file.path));
    const bool nested = json.contains("quantization") && json["quantization"].is_object();
    QuantConfig config = TRY(parse(json_text(nested ? json["quantization"] : json), name));
    if (!config.method.empty()) return config;
  }
  return QuantConfig();
}

}  // namespace fathom
