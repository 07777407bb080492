#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/command.h"
#include "base/units.h"
#include "device/cores.h"
#include "engine/memory.h"
#include "kernels/compute.h"

namespace fathom {

int doctor(std::span<const std::string>) {
  const HostMemory memory = host_memory();
  fmt::print("kernel targets   {}\n", fmt::join(runnable_targets(), ", "));
  fmt::print("cores            {} usable, {} threads by default\n", usable_cores().size(),
             usable_core_count());
  fmt::print("memory           {:.2f} GiB, {:.2f} available\n", static_cast<double>(memory.total) / kGiB,
             static_cast<double>(memory.available) / kGiB);
  return 0;
}

}  // namespace fathom
