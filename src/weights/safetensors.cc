#include "weights/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "base/json.h"
#include "weights/gguf/block_types.h"

namespace fathom {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 8;
constexpr size_t kMaxNameShown = 200;

std::string shown(const std::string& name) {
  return name.size() <= kMaxNameShown ? name : name.substr(0, kMaxNameShown) + "...";
}

// Text of the header, or why there is none.
Result<std::string_view> header_text(std::span<const std::byte> bytes, const std::string& path) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    return invalid("{}: {} bytes is too short for a safetensors file; download it again", path,
                   bytes.size());
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxHeaderBytes || length > bytes.size() - sizeof length) {
    return invalid(
        "{}: header of {} bytes does not fit a file of {} bytes (limit {}); "
        "the file is truncated or not safetensors",
        path, length, bytes.size(), kMaxHeaderBytes);
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
}

// One tensor of the header, as written there.
struct Entry {
  std::optional<std::string> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<int64_t>> offsets;
};

// Checks an entry against the data that the file really has.
Result<StoredTensor> to_tensor(const Entry& entry, std::span<const std::byte> data) {
  if (!entry.dtype || !entry.shape || !entry.offsets) {
    return invalid("needs dtype, shape and data_offsets");
  }
  StoredTensor tensor;
  const auto known = dtype_from_safetensors(*entry.dtype);
  if (!known) return invalid("unknown dtype \"{}\"", shown(*entry.dtype));
  tensor.dtype = *known;
  tensor.shape = *entry.shape;
  const std::vector<int64_t>& offsets = *entry.offsets;
  if (offsets.size() != 2 || offsets[0] > offsets[1] ||
      static_cast<uint64_t>(offsets[1]) > data.size()) {
    return invalid(
        "data_offsets [{}] must lie within the {} bytes of data; "
        "the file is truncated or damaged",
        fmt::join(offsets, ", "), data.size());
  }
  int64_t bytes = static_cast<int64_t>(size_of(tensor.dtype));
  for (const int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return invalid("shape [{}] overflows", fmt::join(tensor.shape, ", "));
    }
  }
  if (bytes != offsets[1] - offsets[0]) {
    return invalid("{} needs {} bytes, data_offsets give {}", tensor.describe(), bytes,
                   offsets[1] - offsets[0]);
  }
  tensor.bytes = data.subspan(static_cast<size_t>(offsets[0]), static_cast<size_t>(bytes));
  return tensor;
}

// Reads the header as events, so that memory grows with its tensors only, whatever the JSON holds.
// Levels: 1 the object of tensors, 2 one tensor or the metadata, 3 a list of sizes.
class HeaderReader final : public Json::json_sax_t {
 public:
  explicit HeaderReader(std::span<const std::byte> data) : data_(data) {}

  std::map<std::string, StoredTensor> tensors;
  std::string problem;

  bool start_object(size_t) override {
    if (level_ >= 2) return wrong_value("an object");
    ++level_;
    entry_ = {};
    fields_seen_.clear();
    return true;
  }
  bool key(std::string& key) override {
    if (level_ == 2) {
      field_ = key;
      if (std::find(fields_seen_.begin(), fields_seen_.end(), key) != fields_seen_.end()) {
        return refuse(fmt::format("has {} twice", shown(key)));
      }
      if (is_known_field()) fields_seen_.push_back(key);
      return true;
    }
    name_ = key;
    if (tensors.contains(name_)) return refuse("is listed twice");
    return true;
  }
  bool end_object() override {
    if (--level_ == 0 || in_metadata()) return true;
    Result<StoredTensor> tensor = to_tensor(entry_, data_);
    if (!tensor) return refuse(tensor.error().message);
    tensors.emplace(name_, std::move(*tensor));
    return true;
  }
  bool start_array(size_t) override {
    if (level_ != 2 || in_metadata()) return wrong_value("a list");
    if (field_ == "shape") {
      list_ = &entry_.shape.emplace();
    } else if (field_ == "data_offsets") {
      list_ = &entry_.offsets.emplace();
    } else {
      return wrong_value("a list");
    }
    ++level_;
    return true;
  }
  bool end_array() override {
    --level_;
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (level_ != 3) return wrong_value("a number");
    if (value > INT64_MAX) return refuse(fmt::format("{} holds {}, too large", field_, value));
    if (list_->size() == kMaxRank) {
      return refuse(fmt::format("{} must be a list of at most {} sizes", field_, kMaxRank));
    }
    list_->push_back(static_cast<int64_t>(value));
    return true;
  }
  bool number_integer(int64_t value) override {
    return wrong_value(fmt::format("the negative number {}", value));
  }
  bool number_float(double value, const std::string&) override {
    return wrong_value(fmt::format("the number {}", value));
  }
  bool string(std::string& value) override {
    if (level_ != 2 || (!in_metadata() && is_known_field() && field_ != "dtype")) {
      return wrong_value("a string");
    }
    if (field_ == "dtype") entry_.dtype = value;
    return true;
  }
  bool null() override { return wrong_value("null"); }
  bool boolean(bool) override { return wrong_value("a truth value"); }
  bool binary(binary_t&) override { return wrong_value("binary data"); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    problem = fmt::format("the header is not JSON (at byte {} of it)", position);
    return false;
  }

 private:
  bool in_metadata() const { return name_ == "__metadata__"; }
  bool is_known_field() const {
    return field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
  }
  bool refuse(const std::string& what) {
    problem = fmt::format("tensor {}: {}", shown(name_), what);
    return false;
  }
  bool wrong_value(std::string_view found) {
    if (level_ == 0) {
      problem = fmt::format("the header must be a JSON object of tensors, found {}", found);
      return false;
    }
    if (level_ == 1)
      return refuse(fmt::format("expected its dtype, shape and data_offsets, found {}", found));
    return refuse(fmt::format("{} cannot be {}", shown(field_), found));
  }

  std::span<const std::byte> data_;
  int level_ = 0;
  std::string name_;   // of the tensor being read, or __metadata__
  std::string field_;  // inside it
  std::vector<std::string> fields_seen_;
  Entry entry_;
  std::vector<int64_t>* list_ = nullptr;  // the list being read, inside entry_
};

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
                     shown(*order[i - 1].second), shown(*order[i].second));
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
  return fmt::format("{} [{}]", block ? block->name : name_of(dtype), fmt::join(shape, ", "));
}

Result<std::map<std::string, StoredTensor>> read_safetensors(std::span<const std::byte> bytes,
                                                             const std::string& path) {
  const std::string_view text = TRY(header_text(bytes, path));
  HeaderReader reader(bytes.subspan(sizeof(uint64_t) + text.size()));
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) {
    return invalid("{}: {}", path, reader.problem);
  }
  TRY(refuse_overlaps(reader.tensors, path));
  return std::move(reader.tensors);
}

}  // namespace fathom
