// The command `fathom bench kernels`: its options and its table.
#pragma once

#include <span>
#include <string>

namespace fathom {

// The exit code.
int run_bench_kernels(std::span<const std::string> words);

}  // namespace fathom
