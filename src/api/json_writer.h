// Appends compact JSON to a string. Commas come by themselves: a value or key that follows a
// finished value is separated from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::api {

// `text` as the inside of a JSON string: raw UTF-8, only quotes, backslashes and controls escaped.
void append_escaped(std::string& out, std::string_view text);

class JsonWriter {
 public:
  // Borrows `out`, which may hold anything before (e.g. "data: ", which must end in a space).
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view name);  // `name` needs no escaping
  JsonWriter& any_key(std::string_view name);

  JsonWriter& string(std::string_view value);
  JsonWriter& integer(int64_t value);
  // Shortest text that reads back as the same value; infinities and NaN become the lowest float.
  JsonWriter& number(double value);
  JsonWriter& number(float value);
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  JsonWriter& raw(std::string_view json);  // one whole value

 private:
  void separate();
  std::string& out_;
};

}  // namespace fathom::api
