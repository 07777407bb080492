// The request target and its query string: pure functions on bytes from outside.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fathom::http {

// "%41+b" -> "A+b"; with plus_is_space "A b". Malformed escapes stay as they are.
std::string percent_decode(std::string_view text, bool plus_is_space = false);

struct Target {
  std::string path;   // percent-decoded; "*" and "" (authority form) are possible
  std::string query;  // raw, without '?'
};
// Origin form ("/a?b"), absolute form ("http://host/a?b"), "*" and authority form ("host:443").
Target split_target(std::string_view target);

// Value of the first `name=value` in an application/x-www-form-urlencoded query.
std::optional<std::string> find_query_value(std::string_view query, std::string_view name);

}  // namespace fathom::http
