// HTTP requests and responses as handlers see them. No sockets, and http/ knows no token.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::http {

struct Request {
  std::string method;  // "GET"
  std::string target;  // as sent: "/v1/models?x=1"
  std::string path;    // without query, percent-decoded
  std::string query;   // raw, without '?'
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;    // capacity has 64 spare bytes (simdjson padding)
  std::string remote;  // "127.0.0.1:41234"
  bool http_1_0 = false;
  bool keep_alive = true;

  // First header of that name, case-insensitive; "" when absent.
  std::string_view header(std::string_view name) const;
  // Decoded query parameter; "" when absent.
  std::string query_value(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";  // "": no such header
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// "OK" for 200, "Unknown" for codes this server never sends.
std::string_view reason_phrase(int status);
bool equals_ignoring_case(std::string_view a, std::string_view b);

}  // namespace fathom::http
