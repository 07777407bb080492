// Who may call what (spec: http-api 3). Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace fathom {

enum class Access {
  kOpen,    // health, metrics
  kNormal,  // generation, information
  kAdmin,   // changes the server's state
};

enum class Verdict { kAllowed, kUnauthorized };

class Auth {
 public:
  // Empty keys are not set.
  Auth(std::string api_key, std::string admin_key)
      : api_key_(std::move(api_key)), admin_key_(std::move(admin_key)) {}

  // The key is the Bearer token of Authorization, or x-api-key.
  Verdict check(const http::Request& request, Access access) const;

 private:
  const std::string api_key_;
  const std::string admin_key_;
};

// Takes as long for any `given` of one length, wherever it differs.
bool equals_in_constant_time(std::string_view given, std::string_view secret);

}  // namespace fathom
