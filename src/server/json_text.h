// JSON of the server's own answers, in the order the fields are written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fathom {

// For writing only. Growing an ordered object copies its members, recursively: what a client has
// nested deeply must be parsed into nlohmann::json, which moves them.
using Json = nlohmann::ordered_json;

// Compact; bytes that are not UTF-8 (a path, a flag) become U+FFFD.
inline std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace fathom
