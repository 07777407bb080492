// What this machine can do at best, measured in a fraction of a second: the limits to compare a
// kernel's speed with. For the bench and doctor commands; never on a server's path.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "device/exec.h"

namespace fathom {

struct MachineLimits {
  double read_bytes_per_second;  // all threads reading memory far larger than the caches near them
  // Multiply-adds (two operations each) from registers. Those that the processor has no dot product
  // for are 0.
  double fma_flops_per_second;
  double bf16_flops_per_second;  // VDPBF16PS
  double int8_ops_per_second;    // VPDPBUSD
};

// Bytes per second at which all threads read these ranges once, each its own contiguous share.
double read_speed(Exec& exec, std::span<const std::span<const std::byte>> ranges);

// On the Exec's threads. kExhausted if there is no room for the buffer that is read.
Result<MachineLimits> measure_machine(Exec& exec);

}  // namespace fathom
