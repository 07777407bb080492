// JSON text to values and back, for every folder that keeps JSON as values (request bodies are read
// in place by api/json_reader.h). Compiled once: parsing and printing are the costliest templates of
// the build.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom {

using Json = nlohmann::json;
// Members stay in the order in which they were added. Growing such an object copies its members,
// recursively: what a client has nested deeply belongs in a Json, which moves them.
using OrderedJson = nlohmann::ordered_json;

// Copying, comparing and printing recurse, so text from outside may not be nested deeper than this.
constexpr int kMostJsonLevels = 128;

// Errors start with `what`, a file, field or flag: "not valid JSON" with the place, "nested deeper
// than ...".
Result<Json> parse_json(std::string_view text, std::string_view what,
                        int most_levels = kMostJsonLevels);
// Likewise, and "not a JSON object" for anything else.
Result<Json> parse_json_object(std::string_view text, std::string_view what);
Result<OrderedJson> parse_ordered_json(std::string_view text, std::string_view what,
                                       int most_levels = kMostJsonLevels);

// In one line, or with that many spaces for each level. Bytes that are not UTF-8 (a path, a flag)
// become U+FFFD.
std::string json_text(const Json& value, int indent = -1);
std::string json_text(const OrderedJson& value, int indent = -1);

}  // namespace fathom
