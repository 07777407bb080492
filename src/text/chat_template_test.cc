#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "text/builtin_templates.h"
#include "text/chat_messages.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kBos = "<｜begin▁of▁sentence｜>";
constexpr const char* kEos = "<｜end▁of▁sentence｜>";

std::string render(std::string_view source, const OrderedJson& context = OrderedJson::object()) {
  const auto compiled = ChatTemplate::compile(source, kBos, kEos);
  if (!compiled) return "compile: " + compiled.error().message;
  const auto text = (*compiled)->render(context.dump());
  return text ? *text : "error: " + text.error().message;
}

std::string chat(std::string_view name, const OrderedJson& context) {
  const auto text = render_chat(**ChatTemplate::builtin(name), context.dump());
  return text ? *text : "error: " + text.error().message;
}

const OrderedJson kTalk =
    OrderedJson::parse(R"([{"role":"system","content":"S"},{"role":"user","content":"u1"},
  {"role":"assistant","content":"<think>t</think>a1"},{"role":"user","content":"u2"}])");

OrderedJson talk(const OrderedJson& more = OrderedJson::object()) {
  OrderedJson context = {{"messages", kTalk}, {"add_generation_prompt", true}};
  context.update(more);
  return context;
}

TEST(ChatTemplate, PrintsAsPythonDoes) {
  const OrderedJson context = OrderedJson::parse(
      R"({"f":1e30,"s":1e-7,"one":1.0,"n":null,"t":true,"l":[1,"a'b",null,{"k":false}]})");
  EXPECT_EQ(render("{{ f }} {{ s }} {{ one }} {{ n }} {{ t }} {{ l }} {{ missing }}", context),
            R"(1e+30 1e-07 1.0 None True [1, "a'b", None, {'k': False}] )");
}

TEST(ChatTemplate, WritesJsonAsTransformersDoes) {
  const OrderedJson context =
      OrderedJson::parse(R"({"x":{"b":"é<&'\"\n","a":[1,2.5,1e-7],"e":{},"l":[]}})");
  EXPECT_EQ(render("{{ x | tojson }}", context),
            R"({"b": "é<&'\"\n", "a": [1, 2.5, 1e-07], "e": {}, "l": []})");
  EXPECT_EQ(render("{{ x | tojson(sort_keys=true, separators=(',', ':')) }}", context),
            R"({"a":[1,2.5,1e-07],"b":"é<&'\"\n","e":{},"l":[]})");
  EXPECT_EQ(render("{{ [1, {'k': 2}] | tojson(indent=2) }}"), "[\n  1,\n  {\n    \"k\": 2\n  }\n]");
  EXPECT_EQ(render("{{ 'é😀' | tojson(ensure_ascii=true) }}"), R"("\u00e9\ud83d\ude00")");
}

TEST(ChatTemplate, KnowsWhatTemplatesUse) {
  EXPECT_EQ(render("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 3 "
                   "%}{% break %}{% endif %}{{ i }}{% endfor %}"),
            "013");
  EXPECT_EQ(render("{{ ' a,b '.strip().split(',')[-1] }}{{ 'x'.startswith('x') }}"), "bTrue");
  EXPECT_EQ(render("{{ strftime_now('%Y') | length }}"), "4");
  EXPECT_EQ(render("  {% if true %}\n x\n  {% endif %}\ny"), " x\ny");
  EXPECT_EQ(render("a\n{%- generation -%}\n b {% endgeneration %}\nc"), "ab c");
  EXPECT_EQ(render("{{ bos_token }}|{{ eos_token }}"), std::string(kBos) + "|" + kEos);
}

TEST(ChatTemplate, ErrorsAreTheTemplatesOwnWords) {
  EXPECT_THAT(render("{{ raise_exception('Roles must alternate') }}"),
              HasSubstr("Roles must alternate"));
  EXPECT_THAT(render("{% if %}"), HasSubstr("compile: chat template:"));
  EXPECT_THAT(render("{{ 1 | nosuchfilter }}"), HasSubstr("nosuchfilter"));
  EXPECT_THAT(render("{{ nosuch() }}"), HasSubstr("nosuch"));
}

TEST(ChatTemplate, HostileTemplatesEnd) {
  const char* hostile[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor "
      "%}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ range(10000000000) | list }}",
      "{{ 'x' * 10000000000 }}",
      "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% "
      "endfor %}{{ n.s }}",
      "{% for i in range(99999) %}{{ '%099999d' % 1 }}{% endfor %}",
      "{% for x in [1,2] recursive %}{{ loop([1,2]) }}{% endfor %}",
      "{% include 'chat_template' %}",
      "{% extends 'chat_template' %}",
  };
  for (const char* source : hostile) EXPECT_THAT(render(source), HasSubstr("error: ")) << source;
  // Parser depth.
  EXPECT_THAT(render("{{ " + std::string(100000, '(') + std::string(100000, ')') + " }}"),
              HasSubstr("compile: "));
  std::string blocks;
  for (int i = 0; i < 20000; ++i) blocks += "{% if true %}";
  EXPECT_THAT(render(blocks), HasSubstr("compile: "));
}

TEST(BuiltinTemplates, LayoutsOfTheCheckpoints) {
  const std::string bos = kBos;
  const std::string eos = kEos;
  EXPECT_EQ(chat("deepseek-v3", talk()), bos + "S<｜User｜>u1<｜Assistant｜><think>t</think>a1" +
                                             eos + "<｜User｜>u2<｜Assistant｜>");
  EXPECT_EQ(chat("deepseek-r1", talk()),
            bos + "S<｜User｜>u1<｜Assistant｜>a1" + eos + "<｜User｜>u2<｜Assistant｜><think>\n");
  EXPECT_EQ(chat("deepseek-v3.1", talk()), bos + "S<｜User｜>u1<｜Assistant｜></think>a1" + eos +
                                               "<｜User｜>u2<｜Assistant｜></think>");
  EXPECT_EQ(
      chat("deepseek-v3.1", talk({{"thinking", true}})),
      bos + "S<｜User｜>u1<｜Assistant｜></think>a1" + eos + "<｜User｜>u2<｜Assistant｜><think>");
  EXPECT_EQ(chat("deepseek-v2", talk()), bos + "S\n\nUser: u1\n\nAssistant: <think>t</think>a1" +
                                             eos + "User: u2\n\nAssistant:");
  EXPECT_EQ(chat("deepseek-v3", talk({{"add_generation_prompt", false}})),
            bos + "S<｜User｜>u1<｜Assistant｜><think>t</think>a1" + eos + "<｜User｜>u2");
  EXPECT_FALSE(ChatTemplate::builtin("nosuch"));
}

OrderedJson tool_talk() {
  return OrderedJson::parse(R"({"messages":[{"role":"user","content":"weather?"},
    {"role":"assistant","content":null,"tool_calls":[
      {"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\":  1}"}},
      {"id":"2","type":"function","function":{"name":"g","arguments":{"y":"é"}}}]},
    {"role":"tool","tool_call_id":"1","content":"sun"},{"role":"tool","tool_call_id":"2","content":"rain"}],
    "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],
    "add_generation_prompt":true})");
}

TEST(BuiltinTemplates, ToolTurnsOfV3) {
  const std::string text = chat("deepseek-v3", tool_talk());
  EXPECT_THAT(
      text,
      HasSubstr(
          R"({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "description": null}})"));
  EXPECT_THAT(text, HasSubstr("<｜User｜>weather?<｜Assistant｜><｜tool▁calls▁begin｜><"
                              "｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
                              "{\"x\":  "
                              "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<"
                              "｜tool▁sep｜>g\n```json\n{\"y\": \"é\"}\n```"
                              "<｜tool▁call▁end｜><｜tool▁calls▁end｜>" +
                              std::string(kEos)));
  EXPECT_TRUE(
      text.ends_with("<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>sun<｜tool▁output▁end｜>\n"
                     "<｜tool▁output▁begin｜>rain<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"))
      << text;
  // The answer follows without <｜Assistant｜>; the next round opens anew.
  OrderedJson longer = tool_talk();
  longer["messages"].push_back({{"role", "assistant"}, {"content", "done"}});
  longer["messages"].push_back({{"role", "user"}, {"content", "again"}});
  EXPECT_TRUE(chat("deepseek-v3", longer)
                  .ends_with("<｜tool▁outputs▁end｜>done" + std::string(kEos) +
                             "<｜User｜>again<｜Assistant｜>"));
  EXPECT_TRUE(chat("deepseek-r1", longer).ends_with("<｜User｜>again<｜Assistant｜>"));
}

TEST(BuiltinTemplates, ToolTurnsOfV31) {
  const std::string text = chat("deepseek-v3.1", tool_talk());
  EXPECT_THAT(text, HasSubstr("### f\nDescription: \n\nParameters: {\"type\": \"object\"}"));
  EXPECT_TRUE(
      text.ends_with("<｜User｜>weather?<｜Assistant｜></"
                     "think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\":  1}"
                     "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{\"y\": "
                     "\"é\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>" +
                     std::string(kEos) +
                     "<｜tool▁output▁begin｜>sun<｜tool▁output▁end｜><｜tool▁output▁begin｜>rain<"
                     "｜tool▁output▁end｜>"))
      << text;
}

TEST(RenderChat, GivesTheFormThatTheTemplateReads) {
  const auto through = [](std::string_view source, const OrderedJson& context) {
    const auto compiled = ChatTemplate::compile(source, kBos, kEos);
    const auto text = render_chat(**compiled, context.dump());
    return text ? *text : "error: " + text.error().message;
  };
  const std::string loop =
      "{{ tools is defined }}{% for m in messages if m.tool_calls %}{{ m.content is none }}{% for "
      "c in m.tool_calls %}";
  EXPECT_EQ(through(loop + "{{ ' ' + c.function.arguments }}{% endfor %}{% endfor %}", tool_talk()),
            "TrueTrue {\"x\":  1} {\"y\": \"é\"}");
  EXPECT_EQ(
      through(loop + " {{ c.function.arguments | tojson }}{% endfor %}{% endfor %}", tool_talk()),
      "TrueTrue {\"x\": 1} {\"y\": \"é\"}");
  OrderedJson bad = tool_talk();
  bad["messages"][1]["tool_calls"][0]["function"]["arguments"] = "{";
  EXPECT_EQ(through(loop + " {{ c.function.arguments | tojson }}{% endfor %}{% endfor %}", bad),
            "error: Assistant tool call function.arguments must be valid JSON.");
  bad["messages"][1]["tool_calls"][0]["function"]["arguments"] = "[1]";
  EXPECT_EQ(through(loop + " {{ c.function.arguments.items() }}{% endfor %}{% endfor %}", bad),
            "error: Assistant tool call function.arguments must be a JSON object.");
  // Bare functions on the second attempt.
  EXPECT_EQ(through("{% for t in tools %}{{ t.name + '!' }}{% endfor %}", tool_talk()), "f!");
}

TEST(RenderChat, JoinsTextParts) {
  const OrderedJson parts = OrderedJson::parse(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
    {"role":"assistant","content":null}],"add_generation_prompt":false})");
  EXPECT_THAT(chat("deepseek-v3", parts), HasSubstr("<｜User｜>a b<｜Assistant｜><｜end"));
  const auto looping = ChatTemplate::compile(
      "{% for p in messages[0]['content'] %}[{{ p.text }}]{% endfor %}", "", "");
  EXPECT_EQ(render_chat(**looping, parts.dump()).value(), "[a][b]");
  const OrderedJson image =
      OrderedJson::parse(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})");
  EXPECT_EQ(
      chat("deepseek-v3", image),
      "error: Model only supports text input; received unsupported content type 'image_url'.");
}

TEST(RenderChat, ReplacesTemplatesThatIgnoreTools) {
  const auto own =
      ChatTemplate::compile("{% for m in messages %}<｜Assistant｜>{% endfor %}", "<b>", "<e>");
  ASSERT_TRUE(own);
  EXPECT_THAT(render_chat(**own, tool_talk().dump()).value(), HasSubstr("## Tools"));
  EXPECT_TRUE(render_chat(**own, tool_talk().dump()).value().starts_with("<b>You are"));
  EXPECT_THAT(render_chat(**own, talk().dump()).value(), Not(HasSubstr("User")));
}

TEST(RenderChat, RefusesHostileContexts) {
  const auto builtin = ChatTemplate::builtin("deepseek-v3").value();
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  for (const std::string& context :
       {std::string("{"), std::string("[]"), std::string("{}"), std::string(R"({"messages":{}})"),
        std::string(R"({"messages":[1]})"), R"({"messages":)" + deep + "}",
        R"({"messages":[{"role":"user","content":1}]})" + std::string()}) {
    EXPECT_FALSE(render_chat(*builtin, context)) << context.substr(0, 60);
  }
}

TEST(NamedTemplate, IsOneOfTheTokenizersOrAnErrorThatListsThem) {
  constexpr std::string_view kConfig =
      R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tools", "template": "t"}]})";
  EXPECT_EQ(*named_template(kConfig, "tools"), "t");
  const auto missing = named_template(kConfig, "other");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("default, tools"), std::string::npos);
  EXPECT_FALSE(named_template(R"({"chat_template": "one"})", "one"));
  EXPECT_FALSE(named_template("{}", "one"));
}

}  // namespace
}  // namespace fathom
