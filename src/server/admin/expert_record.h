// /start_, /stop_ and /dump_expert_distribution_record: how many rows each expert was given.
#pragma once

#include <string>

#include "http/server.h"
#include "server/generation/text_pool.h"
#include "server/server_state.h"

namespace fathom {

http::Handler start_expert_record_handler(const ServerState& state);
http::Handler stop_expert_record_handler(const ServerState& state);
// Writes <folder>/expert_distribution_recorder_<time>.json, a list per layer of a count per expert.
http::Handler dump_expert_record_handler(const ServerState& state, TextPool& blocking,
                                         std::string folder);

}  // namespace fathom
