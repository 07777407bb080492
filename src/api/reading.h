// /separate_reasoning and /parse_function_call: texts read as answers are (spec: http-api 4). Body
// in, body out.
#pragma once

#include <string>

#include "api/errors.h"

namespace fathom::api {

Parsed<std::string> separate_reasoning(const std::string& body);
Parsed<std::string> parse_function_call(const std::string& body);

}  // namespace fathom::api
