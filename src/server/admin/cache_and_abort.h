// Routes that change the server's state (spec: http-api 4).
#pragma once

#include <string>

#include "http/server.h"
#include "server/error_body.h"
#include "server/server_state.h"

namespace fathom {

http::Handler flush_cache_handler(const ServerState& state);
http::Handler abort_request_handler(const ServerState& state);
// 400 with `message` in the native shape.
http::Handler refusing_handler(std::string message);
http::Handler refusing_handler(ErrorShape shape, int status, std::string message);
// 400 {"success": false, "message": ...}, the shape of the weight updates.
http::Handler unsuccessful_handler(std::string message);

}  // namespace fathom
