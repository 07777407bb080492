#include <fmt/format.h>

#include "apps/command.h"
#include "bench/bench_kernels.h"

namespace fathom {

int bench(std::span<const std::string> args) {
  if (!args.empty() && args[0] == "kernels") return run_bench_kernels(args.subspan(1));
  fmt::print(stderr, "usage: fathom bench kernels [--help]\n");
  return 2;
}

}  // namespace fathom
