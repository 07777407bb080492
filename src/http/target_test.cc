#include "http/target.h"

#include <gtest/gtest.h>

#include "http/message.h"

namespace fathom::http {
namespace {

TEST(Target, DecodesEscapesAndLeavesBrokenOnes) {
  EXPECT_EQ(percent_decode("/a%20b%2Fc"), "/a b/c");
  EXPECT_EQ(percent_decode("%zz%4"), "%zz%4");
  EXPECT_EQ(percent_decode("%"), "%");
  EXPECT_EQ(percent_decode("%00").size(), 1u);
  EXPECT_EQ(percent_decode("a+b"), "a+b");
  EXPECT_EQ(percent_decode("a+b", true), "a b");
}

TEST(Target, SplitsAllForms) {
  const auto expect = [](std::string_view target, std::string path, std::string query) {
    const Target parts = split_target(target);
    EXPECT_EQ(parts.path, path) << target;
    EXPECT_EQ(parts.query, query) << target;
  };
  expect("/generate?x=1&y", "/generate", "x=1&y");
  expect("/v1/models/a%2Fb", "/v1/models/a/b", "");
  expect("http://host:1/v1/models?x", "/v1/models", "x");
  expect("http://host", "/", "");
  expect("http://host?x", "/", "x");
  expect("*", "*", "");
  expect("host:443", "", "");
  expect("/a#fragment?x", "/a", "");
  expect("", "", "");
}

TEST(Target, FindsQueryValues) {
  EXPECT_EQ(find_query_value("a=1&b=2", "b"), "2");
  EXPECT_EQ(find_query_value("a=1&a=2", "a"), "1");
  EXPECT_EQ(find_query_value("a=1+2%26", "a"), "1 2&");
  EXPECT_EQ(find_query_value("a&b=", "a"), "");
  EXPECT_EQ(find_query_value("b=", "b"), "");
  EXPECT_EQ(find_query_value("&&=x&", "c"), std::nullopt);
  EXPECT_EQ(find_query_value("", ""), std::nullopt);
}

TEST(Message, HeadersAreFoundWhateverTheirCase) {
  Request request;
  request.headers = {{"Content-TYPE", "a"}, {"content-type", "b"}};
  EXPECT_EQ(request.header("content-type"), "a");
  EXPECT_EQ(request.header("content"), "");
}

}  // namespace
}  // namespace fathom::http
