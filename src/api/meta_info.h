// meta_info: what /generate tells of each sequence, and OpenAI's routes with return_meta_info.
#pragma once

#include <chrono>
#include <string>

#include "api/choice.h"
#include "api/json_writer.h"

namespace fathom::api {

// The members of an object that is open; times and the end once the choice has ended. `start`: when
// the request came.
void write_meta_info(JsonWriter& out, const Choice& choice, const std::string& weight_version,
                     std::chrono::steady_clock::time_point start);

}  // namespace fathom::api
