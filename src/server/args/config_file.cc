#include "server/args/config_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace fathom {
namespace {

constexpr size_t kLargestFile = 1u << 20;

// The option's row, for its type; nullptr lets parse_options say what is wrong with the name.
const Option* row_of(std::span<const Option> table, std::string name) {
  std::ranges::replace(name, '_', '-');
  for (const Option& option : table) {
    if (option.name == name || std::ranges::find(option.aliases, name) != option.aliases.end()) {
      return &option;
    }
  }
  return nullptr;
}

Result<std::vector<std::string>> words_of(const std::string& key, const YAML::Node& value,
                                          const Option* option) {
  const std::string name = "--" + key;
  if (value.IsNull()) return std::vector<std::string>();
  if (value.IsMap()) return invalid("a mapping is not a value; write JSON as a quoted string");
  if (value.IsSequence()) {
    if (option && option->type != OptionType::kList) return invalid("takes one value, not a list");
    std::vector<std::string> words = {name};
    for (const YAML::Node& item : value) {
      if (!item.IsScalar()) return invalid("items of a list must be plain values");
      words.push_back(item.Scalar());
    }
    if (words.size() == 1) words.clear();
    return words;
  }
  const std::string& text = value.Scalar();
  if (!option || option->type != OptionType::kFlag) {
    if (option && option->type == OptionType::kList) return std::vector{name, text};
    return std::vector{name + "=" + text};
  }
  bool given = false;
  if (!YAML::convert<bool>::decode(value, given)) {
    return invalid("must be true or false, got '{}'", text);
  }
  return given ? std::vector{name} : std::vector<std::string>();
}

}  // namespace

Result<std::vector<std::string>> read_config_file(const std::filesystem::path& path,
                                                  std::span<const Option> table) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestFile + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) return invalid("--config {}: cannot be read", path.string());
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kLargestFile) return invalid("--config {}: larger than 1 MiB", path.string());

  std::vector<std::string> words;
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return words;
    if (!root.IsMap()) {
      return invalid("--config {}: must be a mapping of option names to values", path.string());
    }
    for (const auto& entry : root) {
      const int line = entry.first.Mark().line + 1;
      if (!entry.first.IsScalar()) {
        return invalid("--config {}:{}: an option's name must be a plain word", path.string(),
                       line);
      }
      const std::string key = entry.first.Scalar();
      const Option* option = row_of(table, key);
      auto of_key = words_of(key, entry.second, option);
      if (of_key && option && option->name == "config") of_key = invalid("not allowed in a file");
      if (of_key) {
        if (auto parsed = parse_options(table, *of_key); !parsed) {
          of_key = std::unexpected(std::move(parsed.error()));
        }
      }
      if (!of_key) {
        return fail(of_key.error().code, "--config {}:{}: {}: {}", path.string(), line, key,
                    of_key.error().message);
      }
      words.insert(words.end(), of_key->begin(), of_key->end());
    }
  } catch (const YAML::Exception& error) {
    return invalid("--config {}:{}: {}", path.string(), error.mark.line + 1, error.msg);
  }
  return words;
}

Result<OptionValues> parse_options_and_config(std::span<const Option> table,
                                              std::span<const std::string> words) {
  OptionValues values = TRY(parse_options(table, words));
  const auto config = values.maybe_text("config");
  if (!config) return values;
  std::vector<std::string> all = TRY(read_config_file(*config, table));
  all.insert(all.end(), words.begin(), words.end());  // the command line comes last and wins
  return parse_options(table, all);
}

}  // namespace fathom
