// Is the server alive, and ready? (spec: http-api 4)
#pragma once

#include "http/server.h"
#include "server/server_state.h"

namespace fathom {

// /health: at once while the engine makes steps, else by the probe. Empty bodies.
http::Handler health_handler(const ServerState& state, double timeout_seconds);
// /health_generate: always by the probe.
http::Handler health_generate_handler(const ServerState& state, double timeout_seconds);
// Flags only: /ready is false while paused, /ping is not.
http::Handler ready_handler(const ServerState& state);
http::Handler ping_handler(const ServerState& state);

}  // namespace fathom
