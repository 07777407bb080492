#include "base/json.h"

#include <gmock/gmock.h>

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string error(std::string_view text) {
  const auto value = parse_json(text, "here");
  return value ? "none" : value.error().message;
}

TEST(Json, SaysWhereTextIsWrong) {
  EXPECT_EQ(error("{\"a\": [1, 2.5e3, null, \"\xc3\xa9\"]}"), "none");
  EXPECT_THAT(error("{\n\"a\" 1}"), StartsWith("here: not valid JSON: parse error at line 2"));
  EXPECT_THAT(error(""), HasSubstr("here: not valid JSON"));
  EXPECT_THAT(error("1e999"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error("\"\xff\""), HasSubstr("not valid JSON"));
  EXPECT_LT(error("[" + std::string(100'000, 'x') + "]").size(), 300);
}

TEST(Json, NestedTooDeeply) {
  const auto nested = [](int levels) {
    return std::string(static_cast<size_t>(levels), '[') + std::string(static_cast<size_t>(levels), ']');
  };
  EXPECT_EQ(error(nested(kMostJsonLevels)), "none");
  EXPECT_THAT(error(nested(kMostJsonLevels + 2)), HasSubstr("here: nested deeper than 128 levels"));
  EXPECT_THAT(error(nested(1'000'000)), HasSubstr("nested deeper"));
  EXPECT_THAT(error(std::string(1'000'000, '[')), HasSubstr("here: "));
  EXPECT_FALSE(parse_ordered_json(nested(9), "here", 4));
}

TEST(Json, Objects) {
  EXPECT_TRUE(parse_json_object("{}", "here"));
  for (const char* text : {"[]", "null", "7", "\"{}\""}) {
    EXPECT_EQ(parse_json_object(text, "here").error().message, "here: not a JSON object");
  }
}

TEST(Json, OrderAndBytesThatAreNotUtf8) {
  EXPECT_EQ(json_text(*parse_ordered_json("{\"b\": 1, \"a\": 2}", "here")), "{\"b\":1,\"a\":2}");
  EXPECT_EQ(json_text(*parse_json("{\"b\": 1, \"a\": 2}", "here")), "{\"a\":2,\"b\":1}");
  EXPECT_EQ(json_text(*parse_json("[1]", "here"), 2), "[\n  1\n]");
  EXPECT_EQ(json_text(Json("a\xff")), "\"a\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace fathom
