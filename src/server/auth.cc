#include "server/auth.h"

namespace fathom {
namespace {

// "Bearer <key>", the scheme in any case, exactly one space. "" when it is something else.
std::string_view bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  if (!http::equals_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) return {};
  return authorization.substr(kScheme.size());
}

}  // namespace

bool equals_in_constant_time(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const char expected = secret.empty() ? '\0' : secret[i % secret.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected);
  }
  return difference == 0;
}

Verdict Auth::check(const http::Request& request, Access access) const {
  // An admin key alone leaves the normal routes open; with one, the api key opens no admin route.
  const std::string& needed =
      access == Access::kAdmin && !admin_key_.empty() ? admin_key_ : api_key_;
  if (access == Access::kOpen || needed.empty()) return Verdict::kAllowed;
  const bool by_bearer =
      equals_in_constant_time(bearer_token(request.header("authorization")), needed);
  const bool by_header = equals_in_constant_time(request.header("x-api-key"), needed);
  return by_bearer || by_header ? Verdict::kAllowed : Verdict::kUnauthorized;
}

}  // namespace fathom
