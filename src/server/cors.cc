#include "server/cors.h"

#include "server/answers.h"

namespace fathom {

std::vector<std::pair<std::string, std::string>> cors_headers(const http::Request& request) {
  const auto origin = request.header("origin");
  if (origin.empty()) return {};
  // Browsers refuse "*" together with credentials, so a request with a cookie gets its own origin.
  if (request.header("cookie").empty()) {
    return {{"Access-Control-Allow-Origin", "*"}, {"Access-Control-Allow-Credentials", "true"}};
  }
  return {{"Access-Control-Allow-Origin", std::string(origin)},
          {"Access-Control-Allow-Credentials", "true"},
          {"Vary", "Origin"}};
}

bool is_preflight(const http::Request& request) {
  return request.method == "OPTIONS" && !request.header("origin").empty() &&
         !request.header("access-control-request-method").empty();
}

http::Response preflight_response(const http::Request& request) {
  http::Response response = plain_text("OK");
  response.headers = {
      {"Access-Control-Allow-Methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"},
      {"Access-Control-Max-Age", "600"}};
  if (const auto wanted = request.header("access-control-request-headers"); !wanted.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Headers", wanted);
  }
  return response;
}

}  // namespace fathom
