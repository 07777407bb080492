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

TokenEvent event(std::string_view text, std::optional<FinishReason> finish = {}) {
  return {.tokens = byte_ids(text), .finish = std::move(finish), .prompt_tokens = 3};
}

TEST(Choice, CharactersOverTokensStayWhole) {
  Choice choice = make();
  const std::string text = "a\u00e9\u4e2d\U0001F600";
  for (const char c : text) {
    choice.push(event(std::string_view(&c, 1)));
    EXPECT_EQ(choice.text().find("\uFFFD"), std::string::npos);
    EXPECT_TRUE(text.starts_with(choice.text()));
  }
  EXPECT_EQ(choice.text(), text);
  EXPECT_EQ(choice.char_offsets(), (std::vector<int64_t>{0, 1, 1, 2, 2, 2, 3, 3, 3, 3}));
}

TEST(Choice, HalfACharacterAtTheEndIsReplaced) {
  Choice choice = make();
  choice.push(event("a\xe4\xb8", FinishReason::length_limit(3)));
  EXPECT_EQ(choice.text(), "a\uFFFD");
}

TEST(Choice, StopStringOverTokensIsTrimmedAndHeldBack) {
  Choice choice = make({.stop = {"END"}});
  choice.push(event("abE"));
  EXPECT_EQ(choice.text(), "ab");
  choice.push(event("N"));
  EXPECT_EQ(choice.text(), "ab");
  choice.push(event("Dxyz"));
  EXPECT_EQ(choice.text(), "ab");
  ASSERT_TRUE(choice.finish());
  EXPECT_EQ(std::get<std::string>(choice.finish()->matched), "END");
  EXPECT_TRUE(choice.stopped_by_text());
  EXPECT_EQ(choice.completion_tokens(), 5);  // the tokens behind the match do not count
}

TEST(Choice, HeldBackTextIsReleasedWhenDisprovedOrAtTheEnd) {
  Choice choice = make({.stop = {"END"}});
  choice.push(event("aEN"));
  EXPECT_EQ(choice.text(), "a");
  choice.push(event("x"));
  EXPECT_EQ(choice.text(), "aENx");
  choice.push(event("E", FinishReason::length_limit(5)));
  EXPECT_EQ(choice.text(), "aENxE");
  EXPECT_EQ(choice.finish()->kind, FinishReason::Kind::kLength);
}

TEST(Choice, StopStringWinsOverLengthAndStaysWhenAsked) {
  Choice choice = make({.stop = {"X"}, .no_stop_trim = true});
  choice.push(event("abX", FinishReason::length_limit(3)));
  EXPECT_EQ(choice.text(), "abX");
  EXPECT_EQ(choice.finish()->kind, FinishReason::Kind::kStop);
}

TEST(Choice, StopTokenCountsButIsNotShown) {
  Choice choice = make({.skip_special_tokens = false});
  TokenEvent last = event("hi");
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

}  // namespace
}  // namespace fathom::api
