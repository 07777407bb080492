// The one list of what this server answers.
#pragma once

#include <vector>

#include "server/admin/weights.h"
#include "server/generation/text_pool.h"
#include "server/routes.h"
#include "server/server_state.h"

namespace fathom {

struct RouteOptions {
  OrderedJson server_args;  // for /server_info; secrets redacted
  double health_timeout_seconds = 20;
  std::string profile_folder = "/tmp";
  std::string expert_record_folder = "/tmp";
  OpenModel open_model;  // for /update_weights_from_disk
  OpenModel map_model;   // for /get_weights_by_name, which reads little of it
  bool enable_metrics = false;
};

// Everything given outlives the table's users. A new endpoint is a row here and a handler beside
// its kin. `blocking` may wait for the engine, `reading` is for texts.
std::vector<Route> route_table(const RouteOptions& options, ServerState& state, TextPool& blocking,
                               TextPool& reading);

}  // namespace fathom
