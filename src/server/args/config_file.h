// --config: options from a YAML or JSON file, as the words that the command line would have.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/option_table.h"

namespace fathom {

// Keys are option names, with dashes or underscores; values are scalars, or lists for options that
// take several words; true gives a flag, false and null leave an option out. Errors name file, line
// and key.
Result<std::vector<std::string>> read_config_file(const std::filesystem::path& path,
                                                  std::span<const Option> table);
// Options from words, and from the file that --config among them names; the words win.
Result<OptionValues> parse_options_and_config(std::span<const Option> table,
                                              std::span<const std::string> words);

}  // namespace fathom
