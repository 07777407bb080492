// The rows of the route table that change the server's state.
#pragma once

#include <vector>

#include "server/route_table.h"

namespace fathom {

void add_admin_routes(std::vector<Route>& table, const RouteOptions& options, ServerState& state,
                      TextPool& blocking);

}  // namespace fathom
