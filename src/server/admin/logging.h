// /configure_logging (spec: http-api 4).
#pragma once

#include "http/server.h"
#include "server/server_state.h"

namespace fathom {

// {"log_requests", "log_requests_level", "log_level"}
http::Handler configure_logging_handler(ServerState& state);

}  // namespace fathom
