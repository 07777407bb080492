#include "tensor/dtype.h"

#include <array>

namespace fathom {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  size_t size;
};
constexpr std::array<Row, 14> kRows = {{{DType::kF32, "F32", 4},
                                        {DType::kF16, "F16", 2},
                                        {DType::kBF16, "BF16", 2},
                                        {DType::kF8E4M3, "F8_E4M3", 1},
                                        {DType::kF8E5M2, "F8_E5M2", 1},
                                        {DType::kI64, "I64", 8},
                                        {DType::kI32, "I32", 4},
                                        {DType::kI16, "I16", 2},
                                        {DType::kI8, "I8", 1},
                                        {DType::kU8, "U8", 1},
                                        {DType::kBool, "BOOL", 1},
                                        {DType::kF64, "F64", 8},
                                        {DType::kBlocks, "blocks", 1},
                                        {DType::kF8E8M0, "F8_E8M0", 1}}};

}  // namespace

size_t size_of(DType dtype) {
  return kRows[static_cast<size_t>(dtype)].size;
}

std::string_view name_of(DType dtype) {
  return kRows[static_cast<size_t>(dtype)].name;
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name && row.dtype != DType::kBlocks) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace fathom
