// Which targets this binary holds, which this host can run, and their tables.
#pragma once

#include <string_view>

#include "base/result.h"
#include "kernels/ops.h"

namespace fathom {

// "auto": the strongest runnable one. kUnsupported lists the runnable ones.
Result<Ops> ops_for(std::string_view target);

}  // namespace fathom
