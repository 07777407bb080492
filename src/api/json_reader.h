// Reads request bodies: a JSON document with limits, and a reader of an object's fields whose
// errors name the path of what is wrong ("messages[2].content: must be a string").
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/errors.h"

namespace fathom::api {

using JsonValue = simdjson::dom::element;

// UTF-8, depth at most 128, no NaN, no integers beyond 64 bits, no lone surrogates.
class JsonDocument {
 public:
  static constexpr size_t kMaxDepth = 128;
  // Keeps nothing of `text`.
  static Parsed<JsonDocument> parse(const std::string& text);
  JsonValue root() const { return parser_.doc.root(); }

 private:
  simdjson::dom::parser parser_;
};

// An interval of numbers; prints as "(0, 1]".
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool contains(double x) const { return (low_open ? x > low : x >= low) && x <= high; }
  std::string text() const;
};
constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

// Fields of one object. A field that is absent or null leaves its target as it is. The first error
// is kept; afterwards nothing more is read, so callers check status() once at the end.
class Fields {
 public:
  // `path`: of the object, "" for the body. `schema`: whether wrong types are schema errors.
  Fields(JsonValue object, std::string path, bool schema = true);

  const std::optional<Failure>& failure() const { return failure_; }
  std::expected<void, Failure> status() const;

  // The value, or nullopt when absent or null.
  std::optional<JsonValue> find(std::string_view name) const;
  bool is_null(std::string_view name) const;  // there, and null
  std::string path_of(std::string_view name) const;
  // Notes the first error: "<path>: <what>".
  void wrong(std::string_view name, std::string_view what);
  // Notes a semantic error with its whole text.
  void refuse_with(std::string message);
  void note(const Failure& failure);

  void integer(std::string_view name, int64_t& target, int64_t low, int64_t high);
  void number(std::string_view name, double& target, Range range);
  void boolean(std::string_view name, bool& target);
  void string(std::string_view name, std::string& target);
  void strings(std::string_view name, std::vector<std::string>& target);  // string or list
  void token_ids(std::string_view name, std::vector<int32_t>& target, int64_t vocab_size);

  // Refuses any value but null, false, "" and empty lists: a feature this build does not have.
  void unsupported(std::string_view name);

 private:
  std::unordered_map<std::string_view, JsonValue> fields_;
  std::string path_;
  bool schema_;
  std::optional<Failure> failure_;
};

// "<path>: <what>": the JSON is not what the route reads.
std::unexpected<Failure> schema_error(const std::string& path, std::string_view what);
// A string field that must be there.
Parsed<std::string> required_string(const Fields& fields, std::string_view name);

// Single values; errors start with `path`.
Parsed<int64_t> to_integer(JsonValue value, const std::string& path, int64_t low, int64_t high,
                           bool schema = true);
Parsed<std::string> to_string(JsonValue value, const std::string& path, bool schema = true);
Parsed<std::vector<int32_t>> to_token_ids(JsonValue value, const std::string& path,
                                          int64_t vocab_size, bool schema = true);

}  // namespace fathom::api
