#include "api/json_reader.h"

#include <cmath>

#include "api/field_watch.h"

namespace fathom::api {
namespace {

using simdjson::dom::element_type;

std::unexpected<Failure> wrong_value(const std::string& path, std::string_view what, bool schema) {
  return std::unexpected(Failure(400, fmt::format("{}: {}", path, what), schema));
}

std::string bound_text(double x) {
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  return fmt::format("{}", x);
}

// Whole numbers written as 1.0 count as integers; numbers beyond int64 do not.
std::optional<int64_t> whole_number(JsonValue value) {
  int64_t integer;
  if (value.type() != element_type::DOUBLE) {
    return value.get(integer) == simdjson::SUCCESS ? std::optional(integer) : std::nullopt;
  }
  const double number = double(value);
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (number != std::floor(number) || number < -kLimit || number >= kLimit) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::string_view reason_of(simdjson::error_code code) {
  switch (code) {
    case simdjson::DEPTH_ERROR:
      return "nested deeper than 128 levels";
    case simdjson::UTF8_ERROR:
      return "not valid UTF-8";
    case simdjson::STRING_ERROR:
      return "a string has an invalid escape";
    case simdjson::UNCLOSED_STRING:
      return "a string is not closed";
    case simdjson::UNESCAPED_CHARS:
      return "a string holds a raw control character";
    case simdjson::NUMBER_ERROR:
      return "a number is malformed or beyond 64 bits";
    case simdjson::EMPTY:
      return "the body is empty";
    case simdjson::MEMALLOC:
    case simdjson::CAPACITY:
      return "the body is too large";
    default:
      return "the structure of the document is wrong";
  }
}

// What a batch gives of which no prompt has any.
bool all_null(simdjson::dom::array list) {
  for (const JsonValue item : list) {
    if (!item.is_null()) return false;
  }
  return true;
}

}  // namespace

Parsed<JsonDocument> JsonDocument::parse(const std::string& text) {
  JsonDocument document;
  // One level more than simdjson counts: it means "fewer than", we mean "at most".
  simdjson::error_code code = document.parser_.allocate(text.size() + 1, kMaxDepth + 1);
  if (code == simdjson::SUCCESS) {
    const bool padded = text.capacity() - text.size() >= simdjson::SIMDJSON_PADDING;
    code = document.parser_.parse(text.data(), text.size(), !padded).error();
  }
  if (code != simdjson::SUCCESS) {
    return std::unexpected(
        Failure(400, fmt::format("The body is not valid JSON: {}.", reason_of(code)), true));
  }
  return document;
}

std::string Range::text() const {
  const bool high_open = std::isinf(high);
  return fmt::format("{}{}, {}{}", low_open || std::isinf(low) ? '(' : '[', bound_text(low),
                     bound_text(high), high_open ? ')' : ']');
}

Parsed<int64_t> to_integer(JsonValue value, const std::string& path, int64_t low, int64_t high,
                           bool schema) {
  const auto integer = whole_number(value);
  if (!integer) return wrong_value(path, "must be an integer", schema);
  if (*integer < low || *integer > high) {
    return refuse("{} must be in [{}, {}], got {}.", path, low, high, *integer);
  }
  return *integer;
}

Parsed<std::string> to_string(JsonValue value, const std::string& path, bool schema) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return wrong_value(path, "must be a string", schema);
  // Escapes may have made a lone surrogate, which UTF-8 does not have.
  if (!simdjson::validate_utf8(text.data(), text.size())) {
    return wrong_value(path, "holds a lone surrogate", schema);
  }
  return std::string(text);
}

Parsed<std::vector<int32_t>> to_token_ids(JsonValue value, const std::string& path,
                                          int64_t vocab_size, bool schema) {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS) {
    return wrong_value(path, "must be a list of integers", schema);
  }
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const JsonValue item : array) {
    const auto id = whole_number(item);
    if (!id) {
      return wrong_value(fmt::format("{}[{}]", path, ids.size()), "must be an integer", schema);
    }
    if (*id < 0 || *id >= vocab_size) {
      return refuse("{}[{}]: token id {} is outside [0, {}).", path, ids.size(), *id, vocab_size);
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

std::unexpected<Failure> schema_error(const std::string& path, std::string_view what) {
  return wrong_value(path, what, true);
}

Parsed<std::string> required_string(const Fields& fields, std::string_view name) {
  TRY(fields.status());
  const auto value = fields.find(name);
  if (!value) return schema_error(fields.path_of(name), "is required");
  return to_string(*value, fields.path_of(name));
}

Fields::Fields(JsonValue object, std::string path, bool schema)
    : path_(std::move(path)), schema_(schema) {
  simdjson::dom::object members;
  if (object.get(members) != simdjson::SUCCESS) {
    const std::string what = "must be a JSON object";
    failure_ = path_.empty() ? Failure(400, "The body " + what + ".", schema)
                             : Failure(400, path_ + ": " + what, schema);
    return;
  }
  for (const auto& [name, value] : members) fields_[name] = value;  // of duplicates, the last
}

std::expected<void, Failure> Fields::status() const {
  if (failure_) return std::unexpected(*failure_);
  return {};
}

thread_local std::set<std::string>* watched_fields = nullptr;

std::optional<JsonValue> Fields::find(std::string_view name) const {
  if (watched_fields) watched_fields->insert(path_of(name));
  const auto it = fields_.find(name);
  if (failure_ || it == fields_.end() || it->second.is_null()) return std::nullopt;
  return it->second;
}

bool Fields::is_null(std::string_view name) const {
  const auto it = fields_.find(name);
  return it != fields_.end() && it->second.is_null();
}

std::string Fields::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void Fields::note(const Failure& failure) {
  if (!failure_) failure_ = failure;
}
void Fields::wrong(std::string_view name, std::string_view what) {
  note(Failure(400, fmt::format("{}: {}", path_of(name), what), schema_));
}
void Fields::refuse_with(std::string message) {
  note(Failure(400, std::move(message)));
}

void Fields::integer(std::string_view name, int64_t& target, int64_t low, int64_t high) {
  const auto value = find(name);
  if (!value) return;
  // Inside sampling_params the plain name is what clients know.
  if (const auto parsed =
          to_integer(*value, schema_ ? path_of(name) : std::string(name), low, high, schema_)) {
    target = *parsed;
  } else {
    note(parsed.error());
  }
}

void Fields::number(std::string_view name, double& target, Range range) {
  const auto value = find(name);
  if (!value) return;
  double number;
  if (value->get(number) != simdjson::SUCCESS) return wrong(name, "must be a number");
  if (!range.contains(number)) {
    return refuse_with(fmt::format("{} must be in {}, got {}.", name, range.text(), number));
  }
  target = number;
}

void Fields::boolean(std::string_view name, bool& target) {
  const auto value = find(name);
  if (value && value->get(target) != simdjson::SUCCESS) wrong(name, "must be true or false");
}

void Fields::string(std::string_view name, std::string& target) {
  const auto value = find(name);
  if (!value) return;
  auto text = to_string(*value, path_of(name), schema_);
  if (!text) return note(text.error());
  target = std::move(*text);
}

void Fields::strings(std::string_view name, std::vector<std::string>& target) {
  const auto value = find(name);
  if (!value) return;
  target.clear();
  if (value->is_string()) {
    string(name, target.emplace_back());
    return;
  }
  simdjson::dom::array array;
  if (value->get(array) != simdjson::SUCCESS) {
    return wrong(name, "must be a string or a list of strings");
  }
  for (const JsonValue item : array) {
    auto text = to_string(item, fmt::format("{}[{}]", path_of(name), target.size()), schema_);
    if (!text) return note(text.error());
    target.push_back(std::move(*text));
  }
}

void Fields::token_ids(std::string_view name, std::vector<int32_t>& target, int64_t vocab_size) {
  const auto value = find(name);
  if (!value) return;
  auto ids = to_token_ids(*value, path_of(name), vocab_size, schema_);
  if (!ids) return note(ids.error());
  target = std::move(*ids);
}

void Fields::unsupported(std::string_view name) {
  const auto value = find(name);
  if (!value) return;
  bool truth = true;
  std::string_view text = "x";
  simdjson::dom::array array;
  if (value->get(truth) == simdjson::SUCCESS && !truth) return;
  if (value->get(text) == simdjson::SUCCESS && text.empty()) return;
  if (value->get(array) == simdjson::SUCCESS && all_null(array)) return;
  refuse_with(path_of(name) + " is not supported by this build yet.");
}

}  // namespace fathom::api
