// JSON of the server's own answers, in the order the fields are written.
#pragma once

#include "base/json.h"

namespace fathom {

// For writing only. Growing an ordered object copies its members, recursively: what a client has
// nested deeply must be parsed into nlohmann::json, which moves them.
using Json = nlohmann::ordered_json;

}  // namespace fathom
