// POST /vertex_generate (spec: http-api 5.5): /generate in the envelope of Google's Vertex AI.
#pragma once

#include <memory>

#include "api/native.h"

namespace fathom::api {

// {"instances": [{"text"} or {"input_ids"}], "parameters": {members of /generate}?}
Parsed<NativeRequest> parse_vertex(const std::string& body, const Settings& settings);
// {"predictions": [answers of /generate]}
std::unique_ptr<Format> vertex_format(std::unique_ptr<Format> native);

}  // namespace fathom::api
