// Routes about the weights that are served (spec: http-api 4).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/file_set.h"
#include "http/server.h"
#include "server/generation/text_pool.h"
#include "server/server_state.h"

namespace fathom {

// Finds a checkpoint by folder or hub id, as --model-path does.
using OpenModel = std::function<Result<std::shared_ptr<const FileSet>>(const std::string& path)>;

// {"model_path", "load_format", "abort_all_requests", "flush_cache", "weight_version"}
http::Handler update_weights_from_disk_handler(ServerState& state, TextPool& blocking,
                                               OpenModel open);
// {"name", "truncate_size"}: the first values of a tensor of the checkpoint, as nested lists.
http::Handler get_weights_by_name_handler(const ServerState& state, TextPool& blocking,
                                          OpenModel open);

}  // namespace fathom
