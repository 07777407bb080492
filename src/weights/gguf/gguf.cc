#include "weights/gguf/gguf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace fathom {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr size_t kMostDimensions = 4;
constexpr size_t kMaxShown = 200;
constexpr int64_t kMaxAlignment = 1 << 16;

enum class ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

std::string printable(std::string_view name) {
  std::string text(name.substr(0, kMaxShown));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  }
  return name.size() > kMaxShown ? text + "..." : text;
}

// Reads little-endian values one behind the other; the first that does not fit ends it all.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  template <class T>
  Result<T> take() {
    if (left() < sizeof(T)) return truncated();
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  Result<std::string_view> text() {
    const uint64_t length = TRY(take<uint64_t>());
    if (length > left()) return truncated();
    const std::string_view value(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return value;
  }

 private:
  std::unexpected<Error> truncated() const {
    return invalid("the file ends inside it (at byte {} of {}); download it again", at_,
                   bytes_.size());
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

Result<int64_t> to_signed(uint64_t value) {
  if (value > INT64_MAX) return invalid("{} is too large", value);
  return static_cast<int64_t>(value);
}

Result<int64_t> read_integer(Cursor& in, ValueType type) {
  switch (type) {
    case ValueType::kUint8:
      return TRY(in.take<uint8_t>());
    case ValueType::kInt8:
      return TRY(in.take<int8_t>());
    case ValueType::kUint16:
      return TRY(in.take<uint16_t>());
    case ValueType::kInt16:
      return TRY(in.take<int16_t>());
    case ValueType::kUint32:
      return TRY(in.take<uint32_t>());
    case ValueType::kInt32:
      return TRY(in.take<int32_t>());
    case ValueType::kBool:
      return TRY(in.take<uint8_t>()) != 0;
    case ValueType::kUint64:
      return to_signed(TRY(in.take<uint64_t>()));
    default:
      return TRY(in.take<int64_t>());
  }
}

Result<double> read_number(Cursor& in, ValueType type) {
  if (type == ValueType::kFloat32) return TRY(in.take<float>());
  return TRY(in.take<double>());
}

bool is_float(ValueType type) {
  return type == ValueType::kFloat32 || type == ValueType::kFloat64;
}

Result<ValueType> read_type(Cursor& in) {
  const uint32_t type = TRY(in.take<uint32_t>());
  if (type > static_cast<uint32_t>(ValueType::kFloat64)) {
    return invalid("{} is not a type of a value", type);
  }
  return static_cast<ValueType>(type);
}

// Bytes that an element takes at least.
uint64_t least_bytes(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kBool:
      return 1;
    case ValueType::kUint16:
    case ValueType::kInt16:
      return 2;
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kFloat32:
      return 4;
    default:
      return 8;
  }
}

Result<GgufValue> read_array(Cursor& in) {
  const ValueType type = TRY(read_type(in));
  if (type == ValueType::kArray) return invalid("lists of lists are not part of model files");
  const uint64_t count = TRY(in.take<uint64_t>());
  if (count > in.left() / least_bytes(type)) {
    return invalid("a list of {} entries does not fit the {} bytes left of the file", count,
                   in.left());
  }
  if (type == ValueType::kString) {
    std::vector<std::string_view> list;
    for (uint64_t i = 0; i < count; ++i) list.push_back(TRY(in.text()));
    return list;
  }
  if (is_float(type)) {
    std::vector<double> list;
    for (uint64_t i = 0; i < count; ++i) list.push_back(TRY(read_number(in, type)));
    return list;
  }
  std::vector<int64_t> list;
  for (uint64_t i = 0; i < count; ++i) list.push_back(TRY(read_integer(in, type)));
  return list;
}

Result<GgufValue> read_value(Cursor& in) {
  const ValueType type = TRY(read_type(in));
  if (type == ValueType::kString) return TRY(in.text());
  if (type == ValueType::kArray) return read_array(in);
  if (type == ValueType::kBool) return TRY(in.take<uint8_t>()) != 0;
  if (is_float(type)) return TRY(read_number(in, type));
  return TRY(read_integer(in, type));
}

// A tensor of the table, before the place of the data is known.
struct TensorEntry {
  GgufTensor tensor;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

Result<TensorEntry> read_entry(Cursor& in) {
  TensorEntry entry;
  const uint32_t rank = TRY(in.take<uint32_t>());
  if (rank == 0 || rank > kMostDimensions) {
    return invalid("has {} dimensions, expected 1 to {}", rank, kMostDimensions);
  }
  for (uint32_t i = 0; i < rank; ++i) {
    entry.tensor.shape.insert(entry.tensor.shape.begin(), TRY(to_signed(TRY(in.take<uint64_t>()))));
  }
  const uint32_t id = TRY(in.take<uint32_t>());
  entry.tensor.type = block_type(id);
  if (!entry.tensor.type) return invalid("has type {}, which this build does not know", id);
  entry.offset = TRY(in.take<uint64_t>());

  const BlockType& type = *entry.tensor.type;
  const std::vector<int64_t>& shape = entry.tensor.shape;
  if (shape.back() % type.elements) {
    return invalid("rows of {} numbers are not a multiple of the {} that a block of {} holds",
                   shape.back(), type.elements, type.name);
  }
  int64_t bytes = type.bytes;
  bool overflow = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t n = i + 1 == shape.size() ? shape[i] / type.elements : shape[i];
    overflow |= __builtin_mul_overflow(bytes, n, &bytes);
  }
  if (overflow) return invalid("shape [{}] overflows", fmt::join(shape, ", "));
  entry.bytes = static_cast<uint64_t>(bytes);
  return entry;
}

Status refuse_overlaps(std::vector<TensorEntry>& entries) {
  std::vector<const TensorEntry*> order;
  for (const TensorEntry& entry : entries) {
    if (entry.bytes > 0) order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(),
            [](const TensorEntry* a, const TensorEntry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
      return invalid("tensors {} and {} overlap; the file is damaged",
                     printable(order[i - 1]->tensor.name), printable(order[i]->tensor.name));
    }
  }
  return {};
}

Status read_metadata(Cursor& in, uint64_t count, GgufFile& file) {
  for (uint64_t i = 0; i < count; ++i) {
    const auto key = in.text();
    if (!key) return invalid("metadata entry {}: {}", i, key.error().message);
    auto value = read_value(in);
    if (!value) return invalid("metadata {}: {}", printable(*key), value.error().message);
    if (!file.metadata.emplace(*key, std::move(*value)).second) {
      return invalid("metadata {} is there twice", printable(*key));
    }
  }
  return {};
}

Result<std::vector<TensorEntry>> read_table(Cursor& in, uint64_t count) {
  std::vector<TensorEntry> entries;
  std::set<std::string_view> names;
  for (uint64_t i = 0; i < count; ++i) {
    const auto name = in.text();
    if (!name) return invalid("tensor {} of the table: {}", i, name.error().message);
    auto entry = read_entry(in);
    if (!entry) return invalid("tensor {}: {}", printable(*name), entry.error().message);
    if (!names.insert(*name).second) return invalid("tensor {} is there twice", printable(*name));
    entry->tensor.name = *name;
    entries.push_back(std::move(*entry));
  }
  return entries;
}

Result<GgufFile> read(std::span<const std::byte> bytes) {
  Cursor in(bytes);
  if (TRY(in.take<uint32_t>()) != kMagic) return invalid("is not a GGUF file");
  const uint32_t version = TRY(in.take<uint32_t>());
  if (version != 2 && version != 3) {
    return invalid("has GGUF version {}{}; Fathom reads versions 2 and 3", version,
                   (version & 0xffff) == 0 ? " (a big-endian file?)" : "");
  }
  const uint64_t tensor_count = TRY(in.take<uint64_t>());
  const uint64_t metadata_count = TRY(in.take<uint64_t>());
  // No entry of either table takes less than 12 bytes.
  for (const uint64_t count : {tensor_count, metadata_count}) {
    if (count > in.left() / 12) {
      return invalid("announces {} entries, more than a file of {} bytes can hold", count,
                     bytes.size());
    }
  }
  GgufFile file;
  TRY(read_metadata(in, metadata_count, file));
  std::vector<TensorEntry> entries = TRY(read_table(in, tensor_count));

  int64_t alignment = 32;
  if (const int64_t* stated = file.find<int64_t>("general.alignment")) alignment = *stated;
  if (alignment < 1 || alignment > kMaxAlignment || (alignment & (alignment - 1))) {
    return invalid("general.alignment is {}, expected a power of two up to {}", alignment,
                   kMaxAlignment);
  }
  const size_t mask = static_cast<size_t>(alignment) - 1;
  const size_t begin = std::min((in.at() + mask) & ~mask, bytes.size());
  const std::span<const std::byte> data = bytes.subspan(begin);
  for (TensorEntry& entry : entries) {
    if (entry.offset > data.size() || entry.bytes > data.size() - entry.offset) {
      return invalid(
          "tensor {}: its {} bytes at {} are outside the {} bytes of data; the file is "
          "truncated or damaged",
          printable(entry.tensor.name), entry.bytes, entry.offset, data.size());
    }
    entry.tensor.bytes = data.subspan(entry.offset, entry.bytes);
  }
  TRY(refuse_overlaps(entries));
  for (TensorEntry& entry : entries) file.tensors.push_back(std::move(entry.tensor));
  return file;
}

}  // namespace

Result<GgufFile> read_gguf(std::span<const std::byte> bytes, const std::string& path) {
  Result<GgufFile> file = read(bytes);
  if (!file) return invalid("{}: {}", path, file.error().message);
  return file;
}

}  // namespace fathom
