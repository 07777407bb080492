// A loaded weight: what kernels see of it, and the memory it owns, if any. Most matrices own
// nothing: their numbers lie in the mapped checkpoint.
#pragma once

#include <vector>

#include "kernels/matrix.h"
#include "tensor/buffer.h"

namespace fathom {

struct Matrix {
  MatrixView view;
  Buffer data;    // numbers, where they are not in the file
  Buffer scales;  // FP32 scales, where the file's are not usable in place

  int64_t owned_bytes() const { return static_cast<int64_t>(data.size() + scales.size()); }
};

// A matrix before it has memory: everything but its pointers, and which of the optional parts it
// will have.
struct DescribedMatrix {
  MatrixView view;
  bool zero_points = false;
  bool order = false;
};

// A small FP32 vector: norms, biases.
using Vector = std::vector<float>;

}  // namespace fathom
