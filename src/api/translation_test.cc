// /v1/messages and /v1/responses as chat completions.
#include <gtest/gtest.h>

#include "api/anthropic.h"
#include "api/responses.h"
#include "base/json.h"

namespace fathom::api {
namespace {

Json messages(const Json& body) {
  const auto chat = chat_body_of_messages(body.dump(), MessagesUse::kGenerate);
  return chat ? Json::parse(*chat) : Json(chat.error().message);
}
Json responses(const Json& body) {
  const auto chat = chat_body_of_responses(body.dump());
  return chat ? Json::parse(*chat) : Json(chat.error().message);
}

Json text(const char* text) {
  return {{"type", "text"}, {"text", text}};
}

TEST(Messages, TurnsBlocksIntoChatMessagesInTheirOrder) {
  const Json chat = messages(
      {{"max_tokens", 9},
       {"system", {text("be"), text("brief")}},
       {"messages",
        {{{"role", "user"}, {"content", "hi"}},
         {{"role", "assistant"},
          {"content",
           {{{"type", "thinking"}, {"thinking", "hm"}, {"signature", "s"}},
            text("I look."),
            {{"type", "tool_use"}, {"id", "t1"}, {"name", "f"}, {"input", {{"a", 1}}}},
            {{"type", "tool_use"}, {"id", "t2"}, {"name", "g"}, {"input", Json::object()}}}}},
         {{"role", "user"},
          {"content",
           {{{"type", "tool_result"}, {"tool_use_id", "t1"}, {"content", {text("4"), text("2")}}},
            {{"type", "tool_result"}, {"tool_use_id", "t2"}},
            text("so?")}}}}}});
  const Json call = {{"id", "t1"},
                     {"type", "function"},
                     {"function", {{"name", "f"}, {"arguments", R"({"a":1})"}}}};
  ASSERT_EQ(chat["messages"].size(), 6u) << chat;
  EXPECT_EQ(chat["messages"][0], Json({{"role", "system"}, {"content", "be\nbrief"}}));
  EXPECT_EQ(chat["messages"][1], Json({{"role", "user"}, {"content", "hi"}}));
  const Json& assistant = chat["messages"][2];
  EXPECT_EQ(assistant["content"], "I look.");
  EXPECT_EQ(assistant["reasoning_content"], "hm");
  EXPECT_EQ(assistant["tool_calls"][0], call);
  EXPECT_EQ(assistant["tool_calls"][1]["function"]["arguments"], "{}");
  EXPECT_EQ(chat["messages"][3],
            Json({{"role", "tool"}, {"tool_call_id", "t1"}, {"content", "4\n2"}}));
  EXPECT_EQ(chat["messages"][4], Json({{"role", "tool"}, {"tool_call_id", "t2"}, {"content", ""}}));
  EXPECT_EQ(chat["messages"][5], Json({{"role", "user"}, {"content", "so?"}}));
}

TEST(Messages, ALastMessageOfTheAssistantIsContinued) {
  Json body = {{"max_tokens", 9}, {"messages", {{{"role", "user"}, {"content", "hi"}}}}};
  EXPECT_FALSE(messages(body).contains("continue_final_message"));
  body["messages"].push_back({{"role", "assistant"}, {"content", {text("{")}}});
  EXPECT_EQ(messages(body)["continue_final_message"], true);
  // Not a call: it would be lost.
  body["messages"][1]["content"].push_back(
      {{"type", "tool_use"}, {"id", "1"}, {"name", "f"}, {"input", Json::object()}});
  EXPECT_FALSE(messages(body).contains("continue_final_message"));
}

TEST(Messages, TurnsToolsAndTheirChoice) {
  const Json body = {
      {"max_tokens", 9},
      {"messages", {{{"role", "user"}, {"content", "hi"}}}},
      {"tools",
       {{{"name", "f"}, {"description", "d"}, {"input_schema", {{"properties", Json::object()}}}},
        {{"type", "web_search_20250305"}, {"name", "web_search"}}}},
      {"tool_choice", {{"type", "any"}, {"disable_parallel_tool_use", true}}}};
  const Json chat = messages(body);
  ASSERT_EQ(chat["tools"].size(), 1u);
  EXPECT_EQ(chat["tools"][0]["function"]["parameters"],
            Json({{"properties", Json::object()}, {"type", "object"}}));
  EXPECT_EQ(chat["tool_choice"], "required");
  EXPECT_EQ(chat["parallel_tool_calls"], false);

  Json named = body;
  named["tool_choice"] = {{"type", "tool"}, {"name", "f"}};
  EXPECT_EQ(messages(named)["tool_choice"],
            Json({{"type", "function"}, {"function", {{"name", "f"}}}}));
}

TEST(Messages, TurnsTheOtherFields) {
  const Json chat = messages({{"model", "m"},
                              {"max_tokens", 9},
                              {"messages", {{{"role", "user"}, {"content", "hi"}}}},
                              {"stop_sequences", {"a", "b"}},
                              {"temperature", 0.5},
                              {"top_k", 3},
                              {"stream", true},
                              {"metadata", {{"user_id", "u"}}},
                              {"thinking", {{"type", "disabled"}}}});
  EXPECT_EQ(chat["stop"], Json({"a", "b"}));
  EXPECT_EQ(chat["max_tokens"], 9);
  EXPECT_EQ(chat["temperature"], 0.5);
  EXPECT_EQ(chat["top_k"], 3);
  EXPECT_EQ(chat["stream"], true);
  EXPECT_EQ(chat["model"], "m");
  EXPECT_EQ(chat["reasoning"]["enabled"], false);
  EXPECT_FALSE(chat.contains("metadata"));
}

TEST(Responses, WhatTheAssistantDidInARowIsOneMessage) {
  const Json chat = responses(
      {{"instructions", "be brief"},
       {"input",
        {{{"role", "user"}, {"content", {{{"type", "input_text"}, {"text", "hi"}}}}},
         {{"type", "reasoning"}, {"content", {{{"type", "reasoning_text"}, {"text", "hm"}}}}},
         {{"type", "message"},
          {"role", "assistant"},
          {"content", {{{"type", "output_text"}, {"text", "I look."}}}}},
         {{"type", "function_call"}, {"call_id", "c1"}, {"name", "f"}, {"arguments", "{}"}},
         {{"type", "function_call"}, {"call_id", "c2"}, {"name", "g"}, {"arguments", "{}"}},
         {{"type", "function_call_output"}, {"call_id", "c1"}, {"output", "1"}},
         {{"type", "function_call_output"}, {"call_id", "c2"}, {"output", "2"}},
         {{"role", "assistant"}, {"content", "done"}},
         {{"role", "user"}, {"content", "more"}}}}});
  const Json& list = chat["messages"];
  ASSERT_EQ(list.size(), 7u) << chat;
  EXPECT_EQ(list[0], Json({{"role", "system"}, {"content", "be brief"}}));
  EXPECT_EQ(list[1], Json({{"role", "user"}, {"content", "hi"}}));
  EXPECT_EQ(list[2]["reasoning_content"], "hm");
  EXPECT_EQ(list[2]["content"], "I look.");
  EXPECT_EQ(list[2]["tool_calls"].size(), 2u);
  EXPECT_EQ(list[3], Json({{"role", "tool"}, {"tool_call_id", "c1"}, {"content", "1"}}));
  EXPECT_EQ(list[5], Json({{"role", "assistant"}, {"content", "done"}}));
  EXPECT_EQ(list[6], Json({{"role", "user"}, {"content", "more"}}));
}

TEST(Responses, TurnsToolsAndFormats) {
  const Json chat = responses(
      {{"input", "hi"},
       {"max_output_tokens", 5},
       {"tools", {{{"type", "function"}, {"name", "f"}, {"parameters", {{"type", "object"}}}}}},
       {"tool_choice", {{"type", "function"}, {"name", "f"}}},
       {"reasoning", {{"effort", "low"}}},
       {"text",
        {{"format", {{"type", "json_schema"}, {"name", "n"}, {"schema", {{"type", "object"}}}}}}}});
  EXPECT_EQ(chat["messages"], Json({{{"role", "user"}, {"content", "hi"}}}));
  EXPECT_EQ(chat["max_tokens"], 5);
  EXPECT_EQ(chat["tools"][0]["function"]["name"], "f");
  EXPECT_EQ(chat["tool_choice"]["function"]["name"], "f");
  EXPECT_EQ(chat["reasoning_effort"], "low");
  EXPECT_EQ(chat["response_format"]["json_schema"]["schema"], Json({{"type", "object"}}));
}

}  // namespace
}  // namespace fathom::api
