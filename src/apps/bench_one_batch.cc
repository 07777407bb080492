#include "bench/bench_one_batch.h"

#include "apps/command.h"
#include "demo_model.h"

namespace fathom {

int bench_one_batch(std::span<const std::string> args) {
  return run_bench_one_batch(args, embedded_demo_model);
}

}  // namespace fathom
