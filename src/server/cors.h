// Cross-origin access for browsers (spec: http-api 3): any origin may call, with credentials.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "http/message.h"

namespace fathom {

// Headers for a response to `request`; none when it has no Origin.
std::vector<std::pair<std::string, std::string>> cors_headers(const http::Request& request);

// OPTIONS with Origin and Access-Control-Request-Method.
bool is_preflight(const http::Request& request);
http::Response preflight_response(const http::Request& request);

}  // namespace fathom
