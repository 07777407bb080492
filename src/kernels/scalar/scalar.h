// The scalar target, in parts. It is the specification: every other target is tested against it.
#pragma once

#include "kernels/ops.h"

namespace fathom::scalar {

void add_matmul(Ops& ops);
void add_rows(Ops& ops);
void add_gate(Ops& ops);
void add_attention(Ops& ops);

}  // namespace fathom::scalar
