#include "api/choice.h"

#include <gtest/gtest.h>

#include "api/testing/byte_tokenizer.h"

namespace fathom::api {
namespace {

Choice make(const SamplingParams& sampling = {}) {
  auto choice = Choice::create(std::make_shared<ByteTokenizer>(), sampling, "r");
  EXPECT_TRUE(choice.has_value());
  return std::move(*choice);
}

TokenEvent output(std::string_view text, std::optional<FinishReason> finish = {}) {
  return {.tokens = byte_ids(text), .finish = std::move(finish), .prompt_tokens = 3};
}

TEST(Choice, CharactersOverTokensStayWhole) {
  Choice choice = make();
  const std::string text = "a\u00e9\u4e2d\U0001F600";
  for (const char c : text) {
    choice.push(output(std::string_view(&c, 1)));
    EXPECT_EQ(choice.text().find("\uFFFD"), std::string::npos);
    EXPECT_TRUE(text.starts_with(choice.text()));
  }
  EXPECT_EQ(choice.text(), text);
  EXPECT_EQ(choice.char_offsets(), (std::vector<int64_t>{0, 1, 1, 2, 2, 2, 3, 3, 3, 3}));
}

TEST(Choice, HalfACharacterAtTheEndIsReplaced) {
  Choice choice = make();
  choice.push(output("a\xe4\xb8", FinishReason::length_limit(3)));
  EXPECT_EQ(choice.text(), "a\uFFFD");
}

TEST(Choice, StopStringOverTokensIsTrimmedAndHeldBack) {
  Choice choice = make({.stop = {"END"}});
  choice.push(output("abE"));
  EXPECT_EQ(choice.text(), "ab");
  choice.push(output("N"));
  EXPECT_EQ(choice.text(), "ab");
  choice.push(output("Dxyz"));
  EXPECT_EQ(choice.text(), "ab");
  ASSERT_TRUE(choice.finish());
  EXPECT_EQ(std::get<std::string>(choice.finish()->matched), "END");
  EXPECT_TRUE(choice.stopped_by_text());
  EXPECT_EQ(choice.completion_tokens(), 5);  // the tokens behind the match do not count
}

TEST(Choice, HeldBackTextIsReleasedWhenDisprovedOrAtTheEnd) {
  Choice choice = make({.stop = {"END"}});
  choice.push(output("aEN"));
  EXPECT_EQ(choice.text(), "a");
  choice.push(output("x"));
  EXPECT_EQ(choice.text(), "aENx");
  choice.push(output("E", FinishReason::length_limit(5)));
  EXPECT_EQ(choice.text(), "aENxE");
  EXPECT_EQ(choice.finish()->kind, FinishReason::Kind::kLength);
}

TEST(Choice, StopStringWinsOverLengthAndStaysWhenAsked) {
  Choice choice = make({.stop = {"X"}, .no_stop_trim = true});
  choice.push(output("abX", FinishReason::length_limit(3)));
  EXPECT_EQ(choice.text(), "abX");
  EXPECT_EQ(choice.finish()->kind, FinishReason::Kind::kStop);
}

TEST(Choice, StopTokenCountsButIsNotShown) {
  Choice choice = make({.skip_special_tokens = false});
  TokenEvent last = output("hi");
  last.tokens.push_back(ByteTokenizer::kEos);
  last.finish = FinishReason::stop_token(ByteTokenizer::kEos);
  choice.push(std::move(last));
  EXPECT_EQ(choice.text(), "hi");
  EXPECT_EQ(choice.completion_tokens(), 3);
  EXPECT_EQ(choice.ids().back(), ByteTokenizer::kEos);
}

TEST(Choice, BadStopRegexIsRefused) {
  const auto choice = Choice::create(std::make_shared<ByteTokenizer>(), {.stop_regex = {"("}}, "r");
  ASSERT_FALSE(choice.has_value());
  EXPECT_EQ(choice.error().code, ErrorCode::kInvalid);
  EXPECT_NE(choice.error().message.find("stop_regex"), std::string::npos) << choice.error().message;
}

const AnswerForm kThinks{.reasoning = *find_reasoning_dialect("deepseek-r1"),
                         .starts_in_thoughts = true};

Choice make_with(const AnswerForm& form, const SamplingParams& sampling = {}) {
  auto choice = Choice::create(std::make_shared<ByteTokenizer>(), sampling, "r", form);
  EXPECT_TRUE(choice.has_value());
  return std::move(*choice);
}

TEST(Choice, StopStringsDoNotEndThoughts) {
  Choice choice = make_with(kThinks, {.stop = {"END"}});
  choice.push(output("the END</think>say END more"));
  ASSERT_TRUE(choice.finish());
  EXPECT_EQ(choice.gathered(), (GatheredOutput{.reasoning = "the END", .content = "say "}));
  EXPECT_EQ(choice.reasoning_tokens(), 15);
  EXPECT_EQ(choice.text(), "say ");
}

TEST(Choice, ThoughtsMayComeInOnePieceOrBeContent) {
  AnswerForm form = kThinks;
  form.stream_reasoning = false;
  Choice late = make_with(form);
  late.push(output("abc"));
  EXPECT_TRUE(late.events().empty());
  late.push(output("d</think>e"));
  EXPECT_EQ(late.events()[0].text, "abcd");
  Choice cut = make_with(form);
  cut.push(output("abc", FinishReason::length_limit(3)));
  EXPECT_EQ(cut.gathered(), (GatheredOutput{.reasoning = "abc"}));
  EXPECT_EQ(cut.reasoning_tokens(), 3);

  form.separate_reasoning = false;
  Choice raw = make_with(form);
  raw.push(output("ab</think>c</thi", FinishReason::length_limit(3)));
  EXPECT_EQ(raw.gathered(), (GatheredOutput{.content = "ab</think>c</thi"}));
  EXPECT_EQ(raw.text(), "ab</think>c</thi");
}

TEST(Choice, TheAnswerEndsWithTheLastCallThatIsAllowed) {
  const std::string call = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>";
  Choice choice = make_with(
      {.tools = *find_tool_dialect("deepseekv31"), .tool_names = {"f"}, .most_calls = 1});
  choice.push(output(call + call));
  ASSERT_TRUE(choice.finish());
  EXPECT_TRUE(choice.stopped_by_text());
  EXPECT_EQ(choice.gathered(), (GatheredOutput{.calls = {{"f", "{}"}}}));
}

TEST(Choice, HeldBackPiecesAreReleasedInOrder) {
  Choice choice = make_with({.tools = *find_tool_dialect("deepseekv31"), .tool_names = {"f"}},
                            {.stop = {"\nEND"}});
  choice.push(output("a <｜tool▁ca\nEN", FinishReason::length_limit(9)));
  EXPECT_EQ(choice.gathered(), (GatheredOutput{.content = "a <｜tool▁ca\nEN"}));
}

}  // namespace
}  // namespace fathom::api
