// How fast each kernel runs beside what the machine can do: the part behind `fathom bench kernels`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/exec.h"
#include "device/measure_machine.h"
#include "kernels/compute.h"

namespace fathom {

struct KernelSpeed {
  std::string kernel;  // matmul, attention
  std::string shape;
  std::string format;  // of the weights or the cache
  double seconds = 0;  // best of the repetitions
  double achieved = 0;
  double limit = 0;
  std::string unit;  // GB/s where reading is the limit, else GFLOPS

  double ratio() const { return limit > 0 ? achieved / limit : 0; }
};

// Runs every case on one target and reports each as it is done. quick: fewer shapes and
// repetitions. kExhausted when there is no room for weights that no cache holds.
Status measure_kernels(Exec& exec, Compute& compute, const MachineLimits& limits, bool quick,
                       const std::function<void(const KernelSpeed&)>& report);

}  // namespace fathom
