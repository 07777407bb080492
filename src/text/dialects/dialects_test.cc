#include <gtest/gtest.h>

#include <optional>

#include "text/dialects/testing/cuts.h"

namespace fathom {
namespace {

using Kind = DialectEvent::Kind;

const ReasoningDialect& reasoning(std::string_view name) {
  return **find_reasoning_dialect(name);
}
const ToolDialect& tools(std::string_view name) {
  return **find_tool_dialect(name);
}

// Reads `text` in every way of cutting it; all must agree.
DialectEvents read(std::string_view text, const ReasoningParser& thoughts,
                   const ToolCallParser& calls) {
  const DialectEvents events = joined(read_pieces(whole(text), thoughts, calls));
  EXPECT_EQ(joined(read_pieces(bytewise(text), thoughts, calls)), events) << text;
  for (uint32_t seed = 1; seed < 20; ++seed) {
    EXPECT_EQ(joined(read_pieces(random_cuts(text, seed), thoughts, calls)), events) << text;
  }
  return events;
}

GatheredOutput think(std::string_view text, std::string_view dialect, bool inside,
                     bool keep_tags = false) {
  return gather(read(text, ReasoningParser(reasoning(dialect), inside, keep_tags),
                     ToolCallParser(tools("deepseekv3"), {})));
}

GatheredOutput call(std::string_view text, std::string_view dialect = "deepseekv3") {
  return gather(read(text, ReasoningParser(reasoning("deepseek-v3"), false),
                     ToolCallParser(tools(dialect), {"f", "get_weather"})));
}

GatheredOutput said(std::string_view content) {
  return {.content = std::string(content)};
}

// ---- reasoning

TEST(Reasoning, StartsInsideWhereTheTemplateOpenedTheThoughts) {
  EXPECT_EQ(think("a b</think>\n\nc", "deepseek-r1", true),
            (GatheredOutput{.reasoning = "a b", .content = "\n\nc"}));
}

TEST(Reasoning, OpeningTagsAtTheStartAreDropped) {
  for (const char* text : {"<think>a</think>c", "\n<think><think>a</think>c", "a</think>c"}) {
    EXPECT_EQ(think(text, "deepseek-r1", true), (GatheredOutput{.reasoning = "a", .content = "c"}))
        << text;
  }
}

TEST(Reasoning, WithoutTheClosingTagAllIsThought) {
  EXPECT_EQ(think("a </thin", "deepseek-r1", true), (GatheredOutput{.reasoning = "a </thin"}));
  EXPECT_EQ(think("<thi", "deepseek-r1", true), (GatheredOutput{.reasoning = "<thi"}));
}

TEST(Reasoning, OutsideOnlyALeadingTagBegins) {
  EXPECT_EQ(think(" <think>a</think>c", "deepseek-v3", false),
            (GatheredOutput{.reasoning = "a", .content = "c"}));
  EXPECT_EQ(think("say <think> and </think>", "deepseek-v3", false),
            said("say <think> and </think>"));
  EXPECT_EQ(think(" <thin", "deepseek-v3", false), said(" <thin"));
}

TEST(Reasoning, LaterTagsAreContent) {
  EXPECT_EQ(think("a</think>b</think><think>", "deepseek-r1", true),
            (GatheredOutput{.reasoning = "a", .content = "b</think><think>"}));
}

TEST(Reasoning, TagsMayBeKept) {
  EXPECT_EQ(think("<think>a</think>c", "deepseek-r1", true, true),
            (GatheredOutput{.reasoning = "<think>a</think>", .content = "c"}));
}

TEST(Reasoning, OtherTags) {
  EXPECT_EQ(think("◁think▷a◁/think▷c", "kimi", false),
            (GatheredOutput{.reasoning = "a", .content = "c"}));
}

TEST(Reasoning, UnknownNamesAreRefusedWithTheList) {
  const auto found = find_reasoning_dialect("gpt");
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("deepseek-r1"), std::string::npos);
  EXPECT_FALSE(find_tool_dialect("pythonic"));
}

TEST(Reasoning, ThePromptTellsWhereTheAnswerStarts) {
  struct Case {
    const char* dialect;
    const char* prompt;
    const char* prefill;
    std::optional<bool> thinking;
    bool inside;
  };
  const Case cases[] = {
      {"deepseek-r1", "<｜Assistant｜><think>\n", "", {}, true},
      {"deepseek-r1", "<｜Assistant｜>", "", {}, true},
      {"deepseek-r1", "<｜Assistant｜><think>\n\n</think>\n\n", "", {}, false},
      {"deepseek-r1", "<｜tool▁outputs▁end｜>", "", {}, false},
      {"deepseek-v3", "<｜tool▁output▁end｜>", "", true, false},
      {"deepseek-r1", "what is <think>?<｜Assistant｜>", "", {}, true},
      {"deepseek-v3", "what is <think>?<｜Assistant｜>", "", {}, false},
      {"deepseek-v3", "<｜Assistant｜><think>", "", {}, true},
      {"deepseek-v3", "<｜Assistant｜></think>", "", true, false},
      {"deepseek-v3", "<｜Assistant｜>", "", true, true},
      {"qwen3", "<|im_start|>assistant\n", "", true, false},
      {"deepseek-r1", "<｜Assistant｜><think>\nso far", "so far", {}, true},
      {"deepseek-r1", "<｜Assistant｜><think>\nA</think>B", "A</think>B", {}, false},
      {"deepseek-v3", "<｜Assistant｜><think>A", "<think>A", {}, true},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(starts_in_thoughts(reasoning(c.dialect), c.prompt, c.prefill, c.thinking), c.inside)
        << c.dialect << ": " << c.prompt;
  }
}

TEST(Reasoning, FoundByTemplate) {
  EXPECT_EQ(reasoning_dialect_of("{{ '<｜Assistant｜>' }}"), nullptr);
  EXPECT_EQ(reasoning_dialect_of("split('</think>')")->name, "deepseek-r1");
  EXPECT_EQ(reasoning_dialect_of("{% if thinking %}<think>{% else %}</think>")->name,
            "deepseek-v3");
}

// ---- calls

std::string fenced(std::string_view name, std::string_view arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + std::string(name) + "\n```json\n" +
         std::string(arguments) + "\n```<｜tool▁call▁end｜>";
}
std::string plain(std::string_view name, std::string_view arguments) {
  return "<｜tool▁call▁begin｜>" + std::string(name) + "<｜tool▁sep｜>" + std::string(arguments) +
         "<｜tool▁call▁end｜>";
}
std::string block(const std::string& calls) {
  return "<｜tool▁calls▁begin｜>" + calls + "<｜tool▁calls▁end｜>";
}

const GatheredOutput kOneCall{.calls = {{"f", R"({"a": 1})"}}};

TEST(ToolCalls, OneCall) {
  EXPECT_EQ(call(block(fenced("f", R"({"a": 1})"))), kOneCall);
  EXPECT_EQ(call(block(plain("f", R"({"a": 1})")), "deepseekv31"), kOneCall);
}

TEST(ToolCalls, EventsInOrder) {
  const auto events =
      read("ok" + block(fenced("f", "{}")), ReasoningParser(reasoning("deepseek-v3"), false),
           ToolCallParser(tools("deepseekv3"), {"f"}));
  const DialectEvents want{{Kind::kContent, "ok", -1},
                           {Kind::kCallBegin, "f", 0},
                           {Kind::kArguments, "{}", 0},
                           {Kind::kCallEnd, "", 0}};
  EXPECT_EQ(events, want);
}

TEST(ToolCalls, ArgumentsArriveByteByByte) {
  ToolCallParser parser(tools("deepseekv31"), {"f"});
  DialectEvents events;
  parser.push("<｜tool▁call▁begin｜>f<｜tool▁sep｜>{", events);
  ASSERT_EQ(events.size(), 2u);  // begin, and the brace
  for (const char c : std::string_view("\"a\": 1")) {
    events.clear();
    parser.push(std::string(1, c), events);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0], (DialectEvent{Kind::kArguments, std::string(1, c), 0}));
  }
}

TEST(ToolCalls, SeveralCallsAndTextAround) {
  const auto got =
      call("Let me see.\n\n" +
           block(fenced("f", "{}") + "\n" + fenced("get_weather", R"({"city": "Köln"})")) + "\n");
  EXPECT_EQ(got, (GatheredOutput{.content = "Let me see.",
                                 .calls = {{"f", "{}"}, {"get_weather", R"({"city": "Köln"})"}}}));
}

TEST(ToolCalls, MissingOuterMarkersAndFences) {
  EXPECT_EQ(call(fenced("f", R"({"a": 1})")), kOneCall);
  EXPECT_EQ(call("<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{\"a\": 1}<｜tool▁call▁end｜>"),
            kOneCall);
  EXPECT_EQ(call("<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```\n{\"a\": 1}\n```"
                 "<｜tool▁calls▁end｜>"),
            kOneCall);
}

TEST(ToolCalls, BracesQuotesAndFencesInsideStrings) {
  const std::string arguments = R"({"code": "if (a) { s = \"}\"; } ```", "list": [{}, [1]]})";
  EXPECT_EQ(call(block(fenced("f", arguments))), (GatheredOutput{.calls = {{"f", arguments}}}));
}

TEST(ToolCalls, WhatOnlyLooksLikeACallIsContent) {
  const std::string texts[] = {
      "the marker <｜tool▁calls▁begin｜> begins calls",
      "<｜tool▁calls▁begin｜>",
      "<｜tool▁calls▁begin｜><｜tool▁call▁beg",
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f",
      block(fenced("unknown", "{}")),
      block(fenced("f", "[1]")),
      block(fenced("f", "")),
      block(plain("f", "{}")),  // the other dialect
      "<｜tool▁calls▁begin｜> \n",
      "text with space behind \n ",
      "<｜tool▁call▁begin｜>" + std::string(300, 'x') + "<｜tool▁sep｜>f\n```json\n{}",
      "<｜tool▁call▁begin｜>a\nb<｜tool▁sep｜>f\n```json\n{}",
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "<<<｜tool<｜tool▁call▁",
  };
  for (const std::string& text : texts) EXPECT_EQ(call(text), said(text));
}

TEST(ToolCalls, UnknownBesideKnown) {
  const std::string unknown = fenced("unknown", "{}");
  EXPECT_EQ(call(block(fenced("f", R"({"a": 1})") + "\n" + unknown)),
            (GatheredOutput{.content = "\n" + unknown, .calls = kOneCall.calls}));
}

TEST(ToolCalls, CutShort) {
  const auto got =
      call("<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"b<｜tool");
  EXPECT_EQ(got, (GatheredOutput{.calls = {{"f", R"({"a": "b<｜tool)"}}}));
  EXPECT_FALSE(got.calls_are_sound());
  EXPECT_TRUE(kOneCall.calls_are_sound());
}

TEST(ToolCalls, ArgumentsThatAreNoJson) {
  const auto got = call(block(fenced("f", R"({"a": )")) + "rest");
  EXPECT_EQ(got.calls.size(), 1u);
  EXPECT_FALSE(got.calls_are_sound());
  EXPECT_EQ(got.content, "rest");
}

TEST(ToolCalls, FoundByTemplate) {
  EXPECT_EQ(tool_dialect_of("nothing"), nullptr);
  EXPECT_EQ(tool_dialect_of("<｜tool▁sep｜> ```json")->name, "deepseekv3");
  EXPECT_EQ(tool_dialect_of("<｜tool▁sep｜>")->name, "deepseekv31");
}

TEST(ToolCalls, EndlessSpaceIsNotHeldBack) {
  const std::string space(2000, ' ');
  const std::string head = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n" + space + "{}";
  EXPECT_EQ(call(head), said(head));
  EXPECT_EQ(call(fenced("f", "{}") + "x"),
            (GatheredOutput{.content = "x", .calls = {{"f", "{}"}}}));
  const auto tail = call("<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{}" + space + "```x");
  EXPECT_EQ(tail, (GatheredOutput{.content = space + "```x", .calls = {{"f", "{}"}}}));
  EXPECT_EQ(think(space + "<think>a</think>b", "deepseek-v3", false),
            said(space + "<think>a</think>b"));
}

// Marker pieces in any order, cut in any way.
TEST(ToolCalls, AnyTextIsReadTheSameHoweverItIsCut) {
  const std::string_view parts[] = {"<think>",
                                    "</think>",
                                    "<｜tool▁calls▁begin｜>",
                                    "<｜tool▁call▁begin｜>",
                                    "<｜tool▁sep｜>",
                                    "<｜tool▁call▁end｜>",
                                    "<｜tool▁calls▁end｜>",
                                    "function",
                                    "f",
                                    "\n",
                                    "```",
                                    "json",
                                    "{",
                                    "}",
                                    "\"",
                                    "\\",
                                    " ",
                                    "é",
                                    "<｜tool▁call"};
  std::minstd_rand random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (uint32_t n = random() % 24; n > 0; --n) text += parts[random() % std::size(parts)];
    for (const auto* dialect : {"deepseekv3", "deepseekv31"}) {
      const ReasoningParser thoughts(reasoning("deepseek-v3"), i % 2 == 0);
      const ToolCallParser calls(tools(dialect), {"f"});
      const auto want = joined(read_pieces(whole(text), thoughts, calls));
      ASSERT_EQ(joined(read_pieces(bytewise(text), thoughts, calls)), want) << text;
      ASSERT_EQ(joined(read_pieces(random_cuts(text, 3), thoughts, calls)), want) << text;
    }
  }
}

}  // namespace
}  // namespace fathom
