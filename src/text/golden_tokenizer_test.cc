// The real DeepSeek-V3 tokenizer against what Python's tokenizers and jinja2 made of the same
// input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/json.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace fathom {
namespace {

std::string tokenizer_folder() {
  const char* set = std::getenv("FATHOM_TEST_TOKENIZER");
  return set ? set : FATHOM_SOURCE_DIR "/build/test-tokenizer";
}

OrderedJson cases(const std::string& name) {
  std::ifstream file(std::string(FATHOM_TEST_DATA "/golden/tokenizer/") + name);
  return OrderedJson::parse(file);
}

class GoldenTokenizer : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto files = FileSet::folder(tokenizer_folder());
    if (!files) return;
    if (auto loaded = Tokenizer::load(**files)) tokenizer_ = *loaded;
  }
  static void TearDownTestSuite() { tokenizer_.reset(); }
  void SetUp() override {
    ASSERT_TRUE(tokenizer_) << "The DeepSeek-V3 tokenizer is not in " << tokenizer_folder()
                            << ". Run tools/install_deps.sh test, or set FATHOM_TEST_TOKENIZER.";
  }
  static inline std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(GoldenTokenizer, Encodes) {
  const OrderedJson all = cases("encode.json");
  ASSERT_GT(all.size(), 400u);
  for (const OrderedJson& c : all) {
    const auto text = c["text"].get<std::string>();
    const auto expected = c["ids"].get<std::vector<int32_t>>();
    const auto ids = tokenizer_->encode(text, false);
    ASSERT_TRUE(ids) << text;
    EXPECT_EQ(*ids, expected) << text;
    EXPECT_EQ(tokenizer_->decode(expected, false), c["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer_->decode(expected, true), c["decoded_skip_special"].get<std::string>());
  }
}

TEST_F(GoldenTokenizer, AddsBosWhenAsked) {
  ASSERT_EQ(tokenizer_->bos(), 0);
  ASSERT_EQ(tokenizer_->eos(), 1);
  EXPECT_TRUE(tokenizer_->adds_bos());
  const auto plain = tokenizer_->encode("Hello", false).value();
  auto with_bos = tokenizer_->encode("Hello", true).value();
  ASSERT_EQ(with_bos.front(), 0);
  with_bos.erase(with_bos.begin());
  EXPECT_EQ(with_bos, plain);
  EXPECT_EQ(tokenizer_->encode("", true).value(), std::vector<int32_t>{0});
}

TEST_F(GoldenTokenizer, DecodesDamagedBytesAndRandomIds) {
  for (const OrderedJson& c : cases("decode.json")) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer_->decode(ids, false), c["text"].get<std::string>()) << c;
  }
}

TEST_F(GoldenTokenizer, StreamsOnlyWhatIsCertain) {
  for (const OrderedJson& c : cases("stream.json")) {
    Detokenizer stream(tokenizer_, true);
    std::string sent;
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    for (size_t i = 0; i < ids.size(); ++i) {
      sent += stream.push(ids[i]);
      // A U+FFFD that is certain may be sent sooner than a decoder that compares texts dares.
      const auto whole = c["prefix_decodes"][i].get<std::string>();
      EXPECT_GE(sent.size(), c["sent_after"][i].get<std::string>().size());
      EXPECT_TRUE(whole.starts_with(sent)) << "token " << i << " of " << c["final"];
    }
    sent += stream.finish();
    EXPECT_EQ(sent, c["final"].get<std::string>());
  }
}

TEST_F(GoldenTokenizer, RendersTheCheckpointsOwnChatTemplate) {
  const auto bos = tokenizer_->token_bytes(*tokenizer_->bos());
  const auto eos = tokenizer_->token_bytes(*tokenizer_->eos());
  const auto compiled = ChatTemplate::compile(tokenizer_->chat_template(), bos, eos);
  ASSERT_TRUE(compiled) << compiled.error().message;
  for (const OrderedJson& c : cases("chat.json")) {
    OrderedJson context = {{"messages", c["messages"]},
                           {"add_generation_prompt", c["add_generation_prompt"]}};
    if (c.contains("tools")) context["tools"] = c["tools"];
    const auto text = (*compiled)->render(context.dump());
    ASSERT_TRUE(text) << c["name"] << ": " << text.error().message;
    EXPECT_EQ(*text, c["text"].get<std::string>()) << c["name"];
    EXPECT_EQ(tokenizer_->encode(*text, false).value(), c["ids"].get<std::vector<int32_t>>())
        << c["name"];
  }
}

TEST_F(GoldenTokenizer, KnowsSpecialFlagsAndGaps) {
  EXPECT_EQ(tokenizer_->size(), 128815);
  EXPECT_TRUE(tokenizer_->is_special(0));
  EXPECT_FALSE(tokenizer_->is_special(128803));  // <｜User｜>
  EXPECT_EQ(tokenizer_->token_bytes(128803), "<｜User｜>");
  EXPECT_EQ(tokenizer_->id_of("<｜User｜>"), 128803);
  EXPECT_FALSE(tokenizer_->has(128815));
  EXPECT_EQ(tokenizer_->token_bytes(129000), "");
  EXPECT_EQ(tokenizer_->token_bytes(-1), "");
  EXPECT_FALSE(tokenizer_->is_special(1 << 30));
}

}  // namespace
}  // namespace fathom
