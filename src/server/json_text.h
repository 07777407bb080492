// JSON of the server's own answers, in the order the fields are written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom {

// For writing only. Growing an ordered object copies its members, recursively: what a client has
// nested deeply must be parsed into nlohmann::json, which moves them.
using Json = nlohmann::ordered_json;

// Compact; bytes that are not UTF-8 (a path, a flag) become U+FFFD.
inline std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// JSON from outside. Copying and printing recurse: what is nested deeper than requests may be
// (128 levels) is an error here.
inline Result<nlohmann::json> parse_json(std::string_view text) {
  constexpr int kMostDeep = 128;
  bool too_deep = false;
  const auto guard = [&too_deep](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep |= depth > kMostDeep;
    return !too_deep;
  };
  auto json = nlohmann::json::parse(text, guard, false);
  if (too_deep) return invalid("The request body is nested deeper than {} levels.", kMostDeep);
  if (json.is_discarded()) return invalid("The request body is not valid JSON.");
  return json;
}

}  // namespace fathom
