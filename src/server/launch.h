// `fathom launch_server`: from flags to a serving process and its exit code.
#pragma once

#include <functional>
#include <memory>

#include "base/file_set.h"
#include "server/args/server_args.h"

namespace fathom {

// Serves until SIGTERM or SIGINT (graceful; a second one ends the process at once), or prints the
// plan with --dry-run. `demo_model` gives the model to serve when no --model-path was given. Must
// be called before the process has other threads, so that signals reach the one that waits for
// them.
int run_server(const ServerArgs& args,
               const std::function<std::shared_ptr<const FileSet>()>& demo_model);

}  // namespace fathom
