#include "text/dialects/call_grammar.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace fathom {
namespace {

const std::vector<CallableTool> kTools = {
    {.name = "f", .parameters = R"({"type":"object","properties":{"b":{},"a":{}}})"},
    {.name = "g", .parameters = ""},
    {.name = "h", .parameters = R"({"properties":{}})"}};

// What a grammar writes around the arguments must be what the parser takes for a call.
TEST(CallGrammar, TagsAreCallsOfTheDialect) {
  for (const auto* name : {"deepseekv3", "deepseekv31"}) {
    const ToolDialect& dialect = **find_tool_dialect(name);
    const OrderedJson format = OrderedJson::parse(forced_calls(dialect, kTools, false))["format"];
    const OrderedJson& elements = format["elements"];
    ASSERT_EQ(elements.size(), 4u);
    std::string text = elements[1]["value"];
    for (const OrderedJson& tag : elements[2]["tags"]) {
      if (&tag != &elements[2]["tags"].front()) text += elements[2]["separator"];
      text += tag["begin"].get<std::string>() + "{}" + tag["end"].get<std::string>();
    }
    text += elements[3]["value"];
    ToolCallParser parser(dialect, {"f", "g", "h"});
    DialectEvents events;
    parser.push(text, events);
    parser.finish(events);
    EXPECT_EQ(gather(events), (GatheredOutput{.calls = {{"f", "{}"}, {"g", "{}"}, {"h", "{}"}}}));
  }
}

TEST(CallGrammar, SchemasAreOfObjectsAndKeepTheirOrder) {
  const ToolDialect& dialect = **find_tool_dialect("deepseekv31");
  const OrderedJson one =
      OrderedJson::parse(forced_calls(dialect, kTools, true))["format"]["elements"][2];
  EXPECT_EQ(one["stop_after_first"], true);
  EXPECT_EQ(one["at_least_one"], true);
  EXPECT_EQ(one["tags"][0]["content"]["json_schema"].dump(), kTools[0].parameters);
  EXPECT_EQ(one["tags"][1]["content"]["json_schema"], OrderedJson({{"type", "object"}}));
  EXPECT_EQ(one["tags"][2]["content"]["json_schema"]["type"], "object");
}

TEST(CallGrammar, CheckedCallsLeaveTextFree) {
  const ToolDialect& dialect = **find_tool_dialect("deepseekv3");
  const OrderedJson format = OrderedJson::parse(checked_calls(dialect, kTools))["format"];
  EXPECT_EQ(format["type"], "triggered_tags");
  EXPECT_EQ(format["triggers"], OrderedJson::array({dialect.call_begin}));
  EXPECT_EQ(format["tags"].size(), 3u);
}

}  // namespace
}  // namespace fathom
