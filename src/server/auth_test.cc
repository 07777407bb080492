#include "server/auth.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

http::Request with(std::string name, std::string value) {
  http::Request request;
  request.headers = {{std::move(name), std::move(value)}};
  return request;
}
http::Request bearing(const std::string& key) {
  return with("Authorization", "Bearer " + key);
}

bool allowed(const Auth& auth, const http::Request& request, Access access) {
  return auth.check(request, access) == Verdict::kAllowed;
}

// The table of spec http-api 3, row by row: open, normal and admin routes.
TEST(Auth, FollowsTheTable) {
  struct Row {
    const char* api;
    const char* admin;
    const char* presented;
    bool normal, admin_route;
  };
  const std::vector<Row> rows = {
      {"", "", "", true, true},     {"", "", "EMPTY", true, true}, {"K", "", "", false, false},
      {"K", "", "K", true, true},   {"K", "", "x", false, false},  {"", "A", "", true, false},
      {"", "A", "A", true, true},   {"", "A", "K", true, false},   {"K", "A", "", false, false},
      {"K", "A", "K", true, false}, {"K", "A", "A", false, true},
  };
  for (const Row& row : rows) {
    const Auth auth(row.api, row.admin);
    const auto request = bearing(row.presented);
    EXPECT_TRUE(allowed(auth, request, Access::kOpen));
    EXPECT_EQ(allowed(auth, request, Access::kNormal), row.normal)
        << row.api << '/' << row.admin << '/' << row.presented;
    EXPECT_EQ(allowed(auth, request, Access::kAdmin), row.admin_route)
        << row.api << '/' << row.admin << '/' << row.presented;
  }
}

TEST(Auth, HeaderForms) {
  const Auth auth("secret", "");
  const auto normal = [&](const http::Request& r) { return allowed(auth, r, Access::kNormal); };
  EXPECT_TRUE(normal(with("authorization", "bearer secret")));
  EXPECT_TRUE(normal(with("AUTHORIZATION", "BEARER secret")));
  EXPECT_TRUE(normal(with("x-api-key", "secret")));
  EXPECT_FALSE(normal(with("Authorization", "Bearer  secret")));
  EXPECT_FALSE(normal(with("Authorization", "Bearer secret ")));
  EXPECT_FALSE(normal(with("Authorization", "Bearer")));
  EXPECT_FALSE(normal(with("Authorization", "Bearer ")));
  EXPECT_FALSE(normal(with("Authorization", "Basic secret")));
  EXPECT_FALSE(normal(with("Authorization", "secret")));
  EXPECT_FALSE(normal(with("x-api-key", "Bearer secret")));
  EXPECT_FALSE(normal(http::Request{}));
}

TEST(Auth, ConstantTimeComparisonComparesEverything) {
  EXPECT_TRUE(equals_in_constant_time("abc", "abc"));
  EXPECT_TRUE(equals_in_constant_time("", ""));
  for (const char* other : {"", "ab", "abd", "xbc", "abcabc", "abcd"}) {
    EXPECT_FALSE(equals_in_constant_time(other, "abc")) << other;
  }
  EXPECT_FALSE(equals_in_constant_time("a", ""));
}

}  // namespace
}  // namespace fathom
