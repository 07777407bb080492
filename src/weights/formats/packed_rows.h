// Codes of 4 or 8 bits that lie along a row's columns in words of 32 bits, lowest first, as GPTQ
// and compressed-tensors pack them: brought to kI4 or kI8, or to BF16 where neither holds them.
#pragma once

#include <functional>

#include "weights/formats/scales.h"

namespace fathom {

// The parts of one layer, whatever tensors they came from. Codes are unsigned.
struct PackedRows {
  int bits = 4;
  Groups groups;
  std::vector<int32_t> group_of;  // [in], only where it is not column / size; else empty
  bool zero_points = false;       // else 2^(bits - 1) everywhere
  bool uniform_zero = true;       // every zero point is 2^(bits - 1)
  std::function<uint32_t(int64_t row, int64_t word)> word;  // 32 / bits columns
  std::function<float(int64_t row, int64_t group)> zero;    // where zero_points
};

// What load_packed_rows gives.
Result<DescribedMatrix> describe_packed_rows(const StoredLinear& linear, const PackedRows& packed);
// scales: tensor `part`, [groups, out] or [out, groups].
Result<Matrix> load_packed_rows(const StoredLinear& linear, const PackedRows& packed,
                                std::string_view part, bool rows_first, Exec& exec);

// g_idx, the group of each column: empty when it is column / size (or all zeros, as some writers
// leave it when activations are not reordered).
Result<std::vector<int32_t>> group_index(const StoredLinear& linear, std::string_view part,
                                         const Groups& groups);

}  // namespace fathom
