// Scales of quantised weights as files have them: found, checked, brought to FP32.
#pragma once

#include "weights/formats/format.h"

namespace fathom {

// kF8 and kI8 weights lie in place: `weight` [out, in], symmetric, and scales in tensor `part`,
// whose shape says what shares one: [] or [1] the matrix, [out] or [out, 1] a row, [out, n] a row's
// groups, [out / block_out, in / block_in] a block. blocks_only: nothing but the last (or a single
// number).
Result<DescribedMatrix> describe_scaled(const StoredLinear& linear, WeightFormat format,
                                        std::string_view part, bool blocks_only);
Result<Matrix> load_scaled(const StoredLinear& linear, const MatrixView& described,
                           std::string_view part);

// Checks type and shape: "expected I32 [2, 16], found F16 [2]".
Status expect_tensor(const StoredLinear& linear, std::string_view part, const StoredTensor& tensor,
                     DType dtype, const std::vector<int64_t>& shape);
// Scales are positive numbers; a zero is let through where `zero_is_dead` says that all its codes
// mean nothing anyway.
Status check_scale(const StoredLinear& linear, std::string_view part, int64_t index, float scale,
                   bool zero_is_dead);

// A single positive float.
Result<float> scalar_scale(const StoredLinear& linear, std::string_view part, std::string_view why);

// How many groups of columns a layer has, from the scales' dimension `found`, the config and `in`.
struct Groups {
  int64_t count;
  int32_t size;  // 0: one group of all columns
};
Result<Groups> column_groups(const StoredLinear& linear, std::string_view part, int64_t found);

// scales [groups, out] (or [out, groups]: rows_first) of any float type -> to [out, groups].
// They may be negative: full-range symmetric quantisers give the largest number code -8, whatever
// its sign. A matrix of zero scales is damaged; single zeros come from underflow in FP16.
Status group_scales(const StoredLinear& linear, std::string_view part, const StoredTensor& tensor,
                    int64_t groups, bool rows_first, float* to);

// 4- and 8-bit codes in little-endian words of 32 bits.
uint32_t word_at(const StoredTensor& tensor, int64_t i);

}  // namespace fathom
