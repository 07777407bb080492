#include "weights/formats/packed_rows.h"

#include <algorithm>
#include <numeric>

#include "tensor/float_formats.h"
#include "weights/quantize.h"

namespace fathom {
namespace {

// Columns sorted by group, stable: the order in which desc_act quantised them. Empty when the
// groups are not runs of one size (the last may be shorter), which no kernel's layout holds.
std::vector<int32_t> column_order(const PackedRows& p, int64_t in) {
  std::vector<int32_t> order(static_cast<size_t>(in));
  std::iota(order.begin(), order.end(), 0);
  const auto group = [&](int32_t k) { return p.group_of[static_cast<size_t>(k)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return group(a) < group(b); });
  const int64_t size = p.groups.size > 0 ? p.groups.size : in;
  for (int64_t k = 0; k < in; ++k) {
    if (group(order[static_cast<size_t>(k)]) != k / size) return {};
  }
  return order;
}

WeightFormat form_of(const PackedRows& p, int64_t in) {
  if (!p.group_of.empty() && column_order(p, in).empty()) return WeightFormat::kBF16;
  if (p.bits == 4) return WeightFormat::kI4;
  return p.uniform_zero ? WeightFormat::kI8 : WeightFormat::kBF16;
}

}  // namespace

Result<DescribedMatrix> describe_packed_rows(const StoredLinear& linear, const PackedRows& p) {
  const WeightFormat form = form_of(p, linear.in);
  const bool zeros = form == WeightFormat::kI4 && p.zero_points && !p.uniform_zero;
  DescribedMatrix matrix =
      TRY(describe(QuantTarget{form, 1, p.groups.size, zeros}, linear.out, linear.in));
  matrix.order = !p.group_of.empty() && form != WeightFormat::kBF16;
  return matrix;
}

Result<Matrix> load_packed_rows(const StoredLinear& linear, const PackedRows& p,
                                std::string_view part, bool rows_first, Exec& exec) {
  const DescribedMatrix plan = TRY(describe_packed_rows(linear, p));
  const MatrixView& described = plan.view;
  const int64_t out = linear.out, in = linear.in, groups = p.groups.count;
  const bool unpacked = described.format == WeightFormat::kBF16;
  const std::vector<int32_t> order = plan.order ? column_order(p, in) : std::vector<int32_t>();
  Matrix matrix = TRY(allocate_matrix(plan));
  const WritableMatrix w = writable(matrix);
  std::vector<float> widened(unpacked ? static_cast<size_t>(out * groups) : 0);
  float* scales = unpacked ? widened.data() : w.scale;
  TRY(group_scales(linear, part, *linear.find(part), groups, rows_first, scales));
  std::copy(order.begin(), order.end(), w.order);

  const int per_word = 32 / p.bits;
  const uint32_t mask = (uint32_t{1} << p.bits) - 1;
  const float middle = p.bits == 4 ? 8 : 128;
  exec.parallel(out, [&](Range rows, int) {
    std::vector<uint8_t> codes(static_cast<size_t>(in) + 8);
    for (int64_t n = rows.begin; n < rows.end; ++n) {
      for (int64_t k = 0; k < in; k += per_word) {
        const uint32_t word = p.word(n, k / per_word);
        for (int i = 0; i < per_word; ++i) {
          codes[static_cast<size_t>(k + i)] = static_cast<uint8_t>((word >> (p.bits * i)) & mask);
        }
      }
      const auto code = [&](int64_t k) {
        return codes[static_cast<size_t>(order.empty() ? k : order[static_cast<size_t>(k)])];
      };
      uint8_t* row = w.data + n * described.row_bytes();
      if (unpacked) {
        for (int64_t k = 0; k < in; ++k) {
          const int64_t g = p.group_of.empty() ? (p.groups.size > 0 ? k / p.groups.size : 0)
                                               : p.group_of[static_cast<size_t>(k)];
          const float zero = p.zero_points ? p.zero(n, g) : middle;
          reinterpret_cast<uint16_t*>(row)[k] =
              float_to_bf16((static_cast<float>(code(k)) - zero) * scales[n * groups + g]);
        }
      } else if (described.format == WeightFormat::kI8) {
        for (int64_t k = 0; k < in; ++k) row[k] = static_cast<uint8_t>(code(k) - 128);
      } else {
        for (int64_t k = 0; k < in; ++k) {
          row[k / 2] |= static_cast<uint8_t>(code(k) << (k % 2 * 4));
        }
      }
      for (int64_t g = 0; plan.zero_points && g < groups; ++g)
        w.zero[n * groups + g] = p.zero(n, g);
    }
  });
  return matrix;
}

Result<std::vector<int32_t>> group_index(const StoredLinear& linear, std::string_view part,
                                         const Groups& groups) {
  const StoredTensor* tensor = linear.find(part);
  if (!tensor) return std::vector<int32_t>();
  TRY(expect_tensor(linear, part, *tensor, DType::kI32, {linear.in}));
  std::vector<int32_t> index(static_cast<size_t>(linear.in));
  bool trivial = true, zeros = true;
  for (int64_t k = 0; k < linear.in; ++k) {
    const auto group = static_cast<int32_t>(word_at(*tensor, k));
    if (group < 0 || group >= groups.count) {
      return invalid("{}: column {} is in group {}, but there are {} groups", linear.where(part), k,
                     group, groups.count);
    }
    index[static_cast<size_t>(k)] = group;
    trivial &= group == (groups.size > 0 ? k / groups.size : 0);
    zeros &= group == 0;
  }
  if (trivial || zeros) index.clear();
  return index;
}

}  // namespace fathom
