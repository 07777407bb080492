// The document of /openapi.json, generated from the route table so that it cannot promise what is
// not served.
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/routes.h"

namespace fathom {

// Every path and method of `table`, with the JSON Schema of the body where one is known.
OrderedJson openapi_document(const std::vector<Route>& table);

// JSON Schema of the body of requests to `path`; "" where none is described.
std::string_view request_schema(std::string_view path);

}  // namespace fathom
