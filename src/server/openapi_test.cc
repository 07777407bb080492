// /openapi.json against the parsers: every field that a parser looks for is in the document.
#include "server/openapi.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "api/anthropic.h"
#include "api/chat.h"
#include "api/completions.h"
#include "api/embeddings.h"
#include "api/field_watch.h"
#include "api/native.h"
#include "api/reading.h"
#include "api/responses.h"
#include "api/score.h"
#include "api/testing/byte_tokenizer.h"
#include "api/tokens.h"
#include "base/json.h"

namespace fathom {
namespace {

// A parser, and bodies that bring it to all of its fields.
struct Case {
  std::string_view path;
  std::function<bool(const std::string& body)> parse;
  std::vector<std::string> bodies;
};

api::Settings settings() {
  api::Settings s;
  s.vocab_size = 2048;
  s.context_length = s.max_request_tokens = 4096;
  s.embedding_size = 64;
  return s;
}

std::vector<Case> cases() {
  const std::string chat = R"({"messages": [{"role": "user", "content": "x"}], "tools": [
      {"type": "function", "function": {"name": "f"}}], "max_tokens": 5, "logprobs": true)";
  const std::string anthropic = R"({"model": "m", "max_tokens": 5,
      "messages": [{"role": "user", "content": "x"}], "tools": [{"name": "f", "input_schema": {}}]})";
  const auto tokenizer = std::make_shared<api::ByteTokenizer>();
  using Body = const std::string&;
  return {
      {"/generate",
       [](Body b) { return api::parse_generate(b, settings()).has_value(); },
       {R"({"text": "x", "sampling_params": {"n": 2}})",
        R"({"input_ids": [1], "sampling_params": [{}]})"}},
      {"/encode",
       [](Body b) { return api::parse_encode(b, settings()).has_value(); },
       {R"({"text": "x", "sampling_params": {}})"}},
      {"/v1/completions",
       [](Body b) { return api::parse_completion(b, settings()).has_value(); },
       {R"({"prompt": "x", "logprobs": 1})"}},
      {"/v1/chat/completions",
       [](Body b) { return api::parse_chat(b, settings()).has_value(); },
       {chat + "}", chat + R"(, "max_completion_tokens": 5})", R"({"input_ids": [1]})"}},
      {"/v1/messages",
       [](Body b) {
         return api::chat_body_of_messages(b, api::MessagesUse::kGenerate).has_value();
       },
       {anthropic}},
      {"/v1/messages/count_tokens",
       [](Body b) { return api::chat_body_of_messages(b, api::MessagesUse::kCount).has_value(); },
       {anthropic}},
      {"/v1/responses",
       [](Body b) { return api::chat_body_of_responses(b).has_value(); },
       {R"({"input": "x", "tools": [{"type": "function", "name": "f"}]})"}},
      {"/v1/embeddings",
       [](Body b) { return api::parse_embeddings(b, settings()).has_value(); },
       {R"({"input": "x"})"}},
      {"/v1/score",
       [](Body b) { return api::parse_score(b, settings()).has_value(); },
       {R"({"query": "x", "items": ["a"], "label_token_ids": [1]})"}},
      {"/tokenize",
       [=](Body b) {  // there is no template to render messages with
         const auto answer = api::tokenize(b, settings(), *tokenizer, nullptr);
         return answer.has_value() || b.find("messages") != std::string::npos;
       },
       {R"({"prompt": "x"})", R"({"messages": [{"role": "user", "content": "x"}]})"}},
      {"/detokenize",
       [=](Body b) { return api::detokenize(b, settings(), *tokenizer).has_value(); },
       {R"({"tokens": [1]})"}},
      {"/separate_reasoning",
       [](Body b) { return api::separate_reasoning(b).has_value(); },
       {R"({"text": "x", "reasoning_parser": "deepseek-r1"})"}},
      {"/parse_function_call",
       [](Body b) { return api::parse_function_call(b).has_value(); },
       {R"({"text": "x", "tool_call_parser": "deepseekv3"})"}},
  };
}

// The properties of an object, or of the object among its alternatives.
OrderedJson properties_of(const OrderedJson& schema) {
  if (schema.contains("properties")) return schema["properties"];
  for (const OrderedJson& one : schema.value("anyOf", OrderedJson::array())) {
    if (one.contains("properties")) return one["properties"];
  }
  return OrderedJson::object();
}

TEST(OpenApi, NamesEveryFieldThatAParserLooksFor) {
  for (const Case& c : cases()) {
    const OrderedJson properties = properties_of(OrderedJson::parse(request_schema(c.path)));
    api::FieldWatch watch;
    for (const std::string& body : c.bodies) EXPECT_TRUE(c.parse(body)) << c.path << ": " << body;
    EXPECT_GT(watch.paths().size(), 1u) << c.path;
    for (const std::string& path : watch.paths()) {
      if (path.find('[') != std::string::npos) continue;  // of an element
      const size_t dot = path.find('.');
      const std::string name = path.substr(0, dot);
      ASSERT_TRUE(properties.contains(name)) << c.path << ": " << path;
      if (dot == std::string::npos) continue;
      EXPECT_TRUE(properties_of(properties[name]).contains(path.substr(dot + 1)))
          << c.path << ": " << path;
    }
  }
}

// What is described is read: no row is left over from a field that has gone.
TEST(OpenApi, EveryFieldItNamesIsLookedFor) {
  for (const Case& c : cases()) {
    api::FieldWatch watch;
    for (const std::string& body : c.bodies) c.parse(body);
    // Its answer repeats some fields that are read for nothing else.
    if (c.path == "/v1/responses") {
      EXPECT_TRUE(api::parse_responses(c.bodies[0], settings()));
    }
    const OrderedJson schema = OrderedJson::parse(request_schema(c.path));
    for (const auto& [name, _] : schema["properties"].items()) {
      EXPECT_TRUE(watch.paths().contains(name)) << c.path << ": " << name;
    }
  }
}

}  // namespace
}  // namespace fathom
