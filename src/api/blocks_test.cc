#include "api/blocks.h"

#include <gtest/gtest.h>

#include "api/anthropic.h"
#include "api/testing/byte_tokenizer.h"

namespace fathom::api {
namespace {

const std::string kAnswer =
    "I look.</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n"
    "```json\n{\"a\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";

Choice thinking_choice() {
  const AnswerForm form{.reasoning = *find_reasoning_dialect("deepseek-r1"),
                        .starts_in_thoughts = true,
                        .tools = *find_tool_dialect("deepseekv3"),
                        .tool_names = {"f"}};
  auto choice = Choice::create(std::make_shared<ByteTokenizer>(), {}, "r", form);
  EXPECT_TRUE(choice.has_value());
  return std::move(*choice);
}

// Writes down what it hears: "+T", "T:...", "-T".
struct Diary final : BlockListener {
  std::string text;
  static char letter(const Block& block) { return "TXC"[static_cast<int>(block.kind)]; }
  void opened(size_t, const Block& block) override { text += std::string("+") + letter(block); }
  void grew(size_t, const Block&, std::string_view piece) override { text += piece; }
  void closed(size_t, const Block& block) override { text += std::string("-") + letter(block); }
};

TEST(BlockList, ReadsAStreamAndTheWholeAlike) {
  const std::string want = "+TI look.-T+C{\"a\": 1}-C";  // the space between is no block
  Choice choice = thinking_choice();
  Diary streamed;
  BlockList list("call_", streamed);
  for (const char c : kAnswer) {
    choice.push({.tokens = byte_ids(std::string_view(&c, 1))});
    list.read(choice);
  }
  choice.push({.finish = FinishReason::stop_token(1)});
  list.read(choice);
  list.finish();
  EXPECT_EQ(streamed.text, want);
  EXPECT_TRUE(list.has_calls());
  EXPECT_EQ(list.blocks()[1].name, "f");
  EXPECT_EQ(list.blocks()[1].id.size(), 29u);

  Diary whole;
  BlockList again("call_", whole);
  again.read_whole(choice);
  again.finish();
  EXPECT_EQ(whole.text, want);
}

TEST(MessagesFormat, CallsEndWithToolUse) {
  Choice choice = thinking_choice();
  choice.push({.tokens = byte_ids(kAnswer), .finish = FinishReason::stop_token(1)});
  std::vector<Choice> choices;
  choices.push_back(std::move(choice));
  const std::string body = messages_format({})->answer(choices);
  EXPECT_NE(body.find(R"({"type":"thinking","thinking":"I look.","signature":""})"),
            std::string::npos)
      << body;
  EXPECT_NE(body.find(R"("name":"f","input":{"a": 1}})"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("stop_reason":"tool_use")"), std::string::npos) << body;
}

}  // namespace
}  // namespace fathom::api
