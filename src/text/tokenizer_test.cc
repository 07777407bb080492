#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "base/json.h"
#include "text/detokenizer.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Tokenizer> demo() {
  return Tokenizer::load(**FileSet::folder(FATHOM_SOURCE_DIR "/demo/bf16")).value();
}

Result<std::shared_ptr<const Tokenizer>> load(const std::string& json,
                                              const std::string& config = "{}") {
  const auto span = [](const std::string& s) { return std::as_bytes(std::span(s)); };
  return Tokenizer::load(*FileSet::embedded(
      "<test>", {{"tokenizer.json", span(json)}, {"tokenizer_config.json", span(config)}}));
}

std::string error_of(const std::string& json, const std::string& config = "{}") {
  const auto loaded = load(json, config);
  return loaded ? "loaded" : loaded.error().message;
}

OrderedJson small() {
  return OrderedJson::parse(
      R"({"version":"1.0","truncation":null,"padding":null,"normalizer":null,"post_processor":null,
    "added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
    "decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
    "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
      "fuse_unk":false,"byte_fallback":false,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})");
}

TEST(Detokenizer, DeltasAreTheWholeTextForRandomIds) {
  const auto tokenizer = demo();
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<int32_t> ids(random() % 60);
    for (int32_t& id : ids)
      id = static_cast<int32_t>(random() % static_cast<unsigned>(tokenizer->size() + 3)) - 1;
    const bool skip = round % 2;
    Detokenizer stream(tokenizer, skip);
    std::string text;
    for (const int32_t id : ids) {
      const std::string delta = stream.push(id);
      ASSERT_EQ(replace_invalid_utf8(delta), delta);  // whole characters only
      text += delta;
    }
    text += stream.finish();
    ASSERT_EQ(text, tokenizer->decode(ids, skip));
  }
}

TEST(Tokenizer, TextSurvivesEncodingAndDecoding) {
  const auto tokenizer = demo();
  std::mt19937 random(5);
  const std::string alphabet[] = {"a", " ",  "\n", "é",  "中", "😀",
                                  "0", "\t", "<",  "｜", "  ", "\u0301"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t n = random() % 80; n > 0; --n) text += alphabet[random() % std::size(alphabet)];
    const auto ids = tokenizer->encode(text, false);
    ASSERT_TRUE(ids);
    ASSERT_EQ(tokenizer->decode(*ids, false), text);
  }
  EXPECT_FALSE(tokenizer->encode("\xff", false));  // not UTF-8: an error, not an abort
}

TEST(Tokenizer, ConfigOverridesSpecialFlagsAndAddsBosAndEos) {
  const auto json = small().dump();
  EXPECT_TRUE(load(json).value()->is_special(3));
  const auto tokenizer =
      load(json, R"({"added_tokens_decoder":{"3":{"content":"<s>","special":false}},
    "bos_token":{"content":"<s>"},"eos_token":"b","add_bos_token":true,"add_eos_token":true,
    "chat_template":[{"name":"rag","template":"r"},{"name":"default","template":"d"}]})")
          .value();
  EXPECT_FALSE(tokenizer->is_special(3));
  EXPECT_EQ(tokenizer->chat_template(), "d");
  EXPECT_EQ(tokenizer->encode("ab<s>", true).value(), (std::vector<int32_t>{3, 2, 3, 1}));
  // Classes of Llama add BOS unless told otherwise.
  EXPECT_TRUE(load(json, R"({"bos_token":"<s>","tokenizer_class":"LlamaTokenizerFast"})")
                  .value()
                  ->adds_bos());
  EXPECT_FALSE(load(json, R"({"bos_token":"<s>","tokenizer_class":"Other"})").value()->adds_bos());
}

TEST(Tokenizer, HolesInTheIdsAreNoTokens) {
  OrderedJson json = small();
  json["model"]["vocab"]["z"] = 10;
  const auto tokenizer = load(json.dump()).value();
  EXPECT_EQ(tokenizer->size(), 11);
  EXPECT_FALSE(tokenizer->has(7));
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{0, 7, 10}, false), "az");
}

TEST(Tokenizer, NeitherTruncatesNorPads) {
  OrderedJson json = small();
  json["truncation"] = {
      {"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 8}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 3},
                     {"pad_type_id", 0},
                     {"pad_token", "<s>"}};
  const auto tokenizer = load(json.dump()).value();
  EXPECT_EQ(tokenizer->encode("abbabb", false).value(), (std::vector<int32_t>{2, 1, 2, 1}));
}

TEST(Tokenizer, HostileFilesArePreciseErrors) {
  const std::string whole = small().dump();
  for (size_t cut = 0; cut < whole.size(); cut += 7)
    EXPECT_NE(error_of(whole.substr(0, cut)), "loaded") << cut;
  EXPECT_THAT(error_of("[]"), HasSubstr("tokenizer.json"));
  EXPECT_THAT(error_of(whole, "[1]"), HasSubstr("tokenizer_config.json"));
  EXPECT_THAT(error_of(whole, "{"), HasSubstr("tokenizer_config.json"));
  EXPECT_THAT(error_of(whole, R"({"added_tokens_decoder":{"x":{}}})"),
              HasSubstr("\"x\" is not a token id"));
  const auto changed = [](auto change) {
    OrderedJson json = small();
    change(json);
    return error_of(json.dump());
  };
  EXPECT_THAT(changed([](OrderedJson& j) { j["model"]["vocab"]["b"] = 0; }),
              HasSubstr("has id 0, which another token has too"));
  EXPECT_THAT(changed([](OrderedJson& j) { j["model"]["vocab"]["b"] = 4000000000u; }),
              HasSubstr("has id 4000000000"));
  EXPECT_NE(changed([](OrderedJson& j) { j["model"]["vocab"]["b"] = -1; }), "loaded");
  EXPECT_NE(changed([](OrderedJson& j) { j["model"]["vocab"] = 5; }), "loaded");
  EXPECT_NE(changed([](OrderedJson& j) { j["model"]["type"] = "Nope"; }), "loaded");
  EXPECT_THAT(changed([](OrderedJson& j) { j["model"]["merges"] = {"a q"}; }), HasSubstr("q"));
  EXPECT_THAT(changed([](OrderedJson& j) {
                j["decoder"] = nullptr;
                j["pre_tokenizer"] = nullptr;
              }),
              HasSubstr("ByteLevel"));
  EXPECT_NE(error_of(R"({"model":)" + std::string(100000, '[')), "loaded");
}

TEST(Utf8, OneReplacementPerMaximalInvalidPart) {
  const std::pair<std::string, std::string> cases[] = {{"\xc3", "�"},
                                                       {"\xe2\x82", "�"},
                                                       {"\xe2\x28", "�("},
                                                       {"\xf0\x9f\x98", "�"},
                                                       {"\xed\xa0\x80", "���"},
                                                       {"\xc0\xaf", "��"},
                                                       {"\xf4\x90\x80\x80", "����"},
                                                       {"a\xff"
                                                        "b",
                                                        "a�b"},
                                                       {"\xe2\x82\xe2\x82\xac", "�€"}};
  for (const auto& [bytes, text] : cases) EXPECT_EQ(replace_invalid_utf8(bytes), text);
}

}  // namespace
}  // namespace fathom
