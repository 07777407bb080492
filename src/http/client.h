// A small HTTP client for what this server tells others (telemetry). One request per connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom::http {

// http:// only.
struct Url {
  std::string host;
  uint16_t port = 80;
  std::string path;  // with query; begins with '/'
};
// "host", "host:port", "http://host:port/path"; what is missing comes from `defaults`.
Result<Url> parse_url(std::string_view text, const Url& defaults);

// Blocks for at most `timeout`. The status of the answer, or kUnavailable with the reason.
Result<int> post(const Url& url, std::string_view content_type, std::string body,
                 std::chrono::milliseconds timeout);

}  // namespace fathom::http
