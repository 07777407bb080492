#include "weights/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

namespace fathom {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 8;

// Text of the header, or why there is none.
Result<std::string_view> header_text(std::span<const std::byte> bytes, const std::string& path) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    return invalid("{}: {} bytes is too short for a safetensors file; download it again", path,
                   bytes.size());
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxHeaderBytes || length > bytes.size() - sizeof length) {
    return invalid("{}: header of {} bytes does not fit a file of {} bytes (limit {}); "
                   "the file is truncated or not safetensors", path, length, bytes.size(),
                   kMaxHeaderBytes);
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
}

Result<Json> parse_header(std::string_view text, const std::string& path) {
  bool too_deep = false;
  const auto guard = [&](int depth, Json::parse_event_t, Json&) {
    too_deep |= depth > 4;
    return !too_deep;
  };
  Json header = Json::parse(text, guard, /*allow_exceptions=*/false);
  if (too_deep || !header.is_object()) {
    return invalid("{}: the header is not a JSON object of tensors; "
                   "the file is damaged or not safetensors", path);
  }
  return header;
}

// A list of non-negative integers, or nothing.
bool read_sizes(const Json& value, std::vector<int64_t>& out) {
  if (!value.is_array()) return false;
  for (const Json& item : value) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 ||
        (item.is_number_unsigned() && item.get<uint64_t>() > INT64_MAX)) {
      return false;
    }
    out.push_back(item.get<int64_t>());
  }
  return true;
}

Result<StoredTensor> read_tensor(const std::string& name, const Json& entry,
                                 std::span<const std::byte> data, const std::string& path) {
  const auto bad = [&]<class... Args>(fmt::format_string<Args...> detail, Args&&... args) {
    return invalid("{}: tensor {}: {}", path, name,
                   fmt::format(detail, std::forward<Args>(args)...));
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    return bad("needs dtype, shape and data_offsets");
  }
  StoredTensor tensor;
  const std::string dtype = entry["dtype"].is_string() ? entry["dtype"].get<std::string>() : "";
  const auto known = dtype_from_safetensors(dtype);
  if (!known) return bad("unknown dtype {}", entry["dtype"].dump());
  tensor.dtype = *known;
  if (!read_sizes(entry["shape"], tensor.shape) || tensor.shape.size() > kMaxRank) {
    return bad("shape {} must be a list of at most {} sizes", entry["shape"].dump(), kMaxRank);
  }
  std::vector<int64_t> offsets;
  if (!read_sizes(entry["data_offsets"], offsets) || offsets.size() != 2 ||
      offsets[0] > offsets[1] || static_cast<uint64_t>(offsets[1]) > data.size()) {
    return bad("data_offsets {} must lie within the {} bytes of data; the file is truncated or "
               "damaged", entry["data_offsets"].dump(), data.size());
  }
  int64_t bytes = static_cast<int64_t>(size_of(tensor.dtype));
  for (const int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return bad("shape {} overflows", entry["shape"].dump());
    }
  }
  if (bytes != offsets[1] - offsets[0]) {
    return bad("{} needs {} bytes, data_offsets give {}", tensor.describe(), bytes,
               offsets[1] - offsets[0]);
  }
  tensor.bytes = data.subspan(static_cast<size_t>(offsets[0]), static_cast<size_t>(bytes));
  return tensor;
}

Status refuse_overlaps(const std::map<std::string, StoredTensor>& tensors,
                       const std::string& path) {
  std::vector<std::pair<const std::byte*, const std::string*>> order;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.bytes.empty()) order.emplace_back(tensor.bytes.data(), &name);
  }
  std::sort(order.begin(), order.end());
  for (size_t i = 1; i < order.size(); ++i) {
    const StoredTensor& before = tensors.at(*order[i - 1].second);
    if (before.bytes.data() + before.bytes.size() > order[i].first) {
      return invalid("{}: tensors {} and {} overlap; the file is damaged", path,
                     *order[i - 1].second, *order[i].second);
    }
  }
  return {};
}

}  // namespace

int64_t StoredTensor::elements() const {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

std::string StoredTensor::describe() const {
  return fmt::format("{} [{}]", name_of(dtype), fmt::join(shape, ", "));
}

Result<std::map<std::string, StoredTensor>> read_safetensors(std::span<const std::byte> bytes,
                                                             const std::string& path) {
  const std::string_view text = TRY(header_text(bytes, path));
  const Json header = TRY(parse_header(text, path));
  const std::span<const std::byte> data = bytes.subspan(sizeof(uint64_t) + text.size());
  std::map<std::string, StoredTensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    tensors.emplace(name, TRY(read_tensor(name, entry, data, path)));
  }
  TRY(refuse_overlaps(tensors, path));
  return tensors;
}

}  // namespace fathom
