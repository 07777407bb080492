// Routes that hold, slow or tune the running engine (spec: http-api 4).
#pragma once

#include "http/server.h"
#include "server/server_state.h"

namespace fathom {

// {"mode": "abort" | "retract" | "in_place"}
http::Handler pause_generation_handler(ServerState& state);
http::Handler continue_generation_handler(ServerState& state);
// {"forward_sleep_time": seconds or null}: a testing aid.
http::Handler slow_down_handler(const ServerState& state);
// {"server_args": {...}}: schedule_policy, schedule_conservativeness, max_running_requests,
// decode_log_interval. Nothing changes unless all of it is good.
http::Handler set_internal_state_handler(ServerState& state);

}  // namespace fathom
