#include "base/json.h"

namespace fathom {
namespace {

// "[json.exception.parse_error.101] parse error at line 1, column 3: ..." without what is in brackets.
std::string place_of(const std::string& message) {
  constexpr size_t kShown = 200;
  const size_t start = message.find("] ");
  return message.substr(start == std::string::npos ? 0 : start + 2, kShown);
}

template <class Value>
Result<Value> parse(std::string_view text, std::string_view what, int most_levels) {
  bool too_deep = false;
  const auto guard = [&](int level, typename Value::parse_event_t, Value&) {
    too_deep |= level > most_levels;
    return !too_deep;
  };
  try {
    Value value = Value::parse(text, guard);
    if (too_deep) return invalid("{}: nested deeper than {} levels", what, most_levels);
    return value;
  } catch (const nlohmann::json::exception& e) {
    return invalid("{}: not valid JSON: {}", what, place_of(e.what()));
  }
}

template <class Value>
std::string print(const Value& value, int indent) {
  return value.dump(indent, ' ', false, Value::error_handler_t::replace);
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what, int most_levels) {
  return parse<Json>(text, what, most_levels);
}

Result<Json> parse_json_object(std::string_view text, std::string_view what) {
  auto value = parse_json(text, what);
  if (value && !value->is_object()) return invalid("{}: not a JSON object", what);
  return value;
}

Result<OrderedJson> parse_ordered_json(std::string_view text, std::string_view what,
                                       int most_levels) {
  return parse<OrderedJson>(text, what, most_levels);
}

std::string json_text(const Json& value, int indent) {
  return print(value, indent);
}
std::string json_text(const OrderedJson& value, int indent) {
  return print(value, indent);
}

}  // namespace fathom
