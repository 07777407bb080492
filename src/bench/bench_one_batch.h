// The command `fathom bench_one_batch`: its options, and its report (spec: bench-tools 3).
#pragma once

#include <span>
#include <string>

#include "server/assembly.h"

namespace fathom {

// The exit code. `words` are its own options and any of launch_server's.
int run_bench_one_batch(std::span<const std::string> words, LoadModel demo_model);

}  // namespace fathom
