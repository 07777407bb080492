// The demo model inside the binary: a tiny model of DeepSeek-V3's architecture (demo/README.md), so
// that `fathom launch_server` has something to serve on a machine without a checkpoint.
#pragma once

#include <memory>

#include "base/file_set.h"

namespace fathom {

std::shared_ptr<const FileSet> embedded_demo_model();

}  // namespace fathom
