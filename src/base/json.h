// JSON text to values and back, for every folder that keeps JSON as values (request bodies are read
// in place by api/json_reader.h). Compiled once: parsing and printing are the costliest templates of
// the build.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom {

// Copying, comparing and printing recurse, so text from outside may not be nested deeper than this.
constexpr int kMostJsonLevels = 128;

// Errors start with `what`, a file, field or flag: "not valid JSON" with the place, "nested deeper
// than ...".
Result<nlohmann::json> parse_json(std::string_view text, std::string_view what,
                                  int most_levels = kMostJsonLevels);
// Likewise, and "not a JSON object" for anything else.
Result<nlohmann::json> parse_json_object(std::string_view text, std::string_view what);
// Members stay in the order of the text. Growing such an object copies its members, recursively.
Result<nlohmann::ordered_json> parse_ordered_json(std::string_view text, std::string_view what,
                                                  int most_levels = kMostJsonLevels);

// In one line, or with that many spaces for each level. Bytes that are not UTF-8 (a path, a flag)
// become U+FFFD.
std::string json_text(const nlohmann::json& value, int indent = -1);
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

}  // namespace fathom
