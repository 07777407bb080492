// The one list of what this server answers.
#pragma once

#include <vector>

#include "server/generation/text_pool.h"
#include "server/routes.h"
#include "server/server_state.h"

namespace fathom {

struct RouteOptions {
  Json server_args;  // for /server_info; secrets redacted
  double health_timeout_seconds = 20;
  bool enable_metrics = false;
};

// Everything given outlives the table's users. A new endpoint is a row here and a handler beside
// its kin.
std::vector<Route> route_table(const RouteOptions& options, ServerState& state, TextPool& blocking);

}  // namespace fathom
