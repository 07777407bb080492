#include <gtest/gtest.h>

#include "api/chat.h"
#include "api/completions.h"
#include "api/json_writer.h"
#include "api/native.h"
#include "api/testing/byte_tokenizer.h"
#include "base/json.h"

namespace fathom::api {
namespace {

Settings settings() {
  Settings s;
  s.vocab_size = 2048;
  s.context_length = s.max_request_tokens = 4096;
  return s;
}

PositionLogprobs position(int32_t id, float logprob) {
  return {.token = {logprob, id}, .top = {{logprob, id}, {logprob - 1, id + 1}}};
}

TokenEvent event(std::string_view text, std::optional<FinishReason> finish = {}) {
  TokenEvent e{.tokens = byte_ids(text),
               .finish = std::move(finish),
               .prompt_tokens = 2,
               .cached_tokens = 1};
  for (const int32_t id : e.tokens) e.output_logprobs.push_back(position(id, -0.1f * id));
  return e;
}

struct Rig {
  std::shared_ptr<const Tokenizer> tokenizer = std::make_shared<ByteTokenizer>();
  Prepared prepared;
  std::unique_ptr<Format> format;

  std::vector<Json> chunk(size_t i) {
    Format::Events events;
    format->append_chunk(events, i, prepared.choices[i]);
    return parse(events);
  }
  std::vector<Json> closing() {
    Format::Events events;
    format->append_closing(events, prepared.choices);
    return parse(events);
  }
  static std::vector<Json> parse(const Format::Events& events) {
    std::vector<Json> out;
    for (const auto& e : events) {
      EXPECT_TRUE(e.starts_with("data: {") && e.ends_with("}\n\n")) << e;
      EXPECT_EQ(e.find('\n'), e.size() - 2);
      out.push_back(Json::parse(e.substr(6)));
    }
    return out;
  }
  void prepare_job(const Job& job, const Settings& s) {
    auto result = prepare(job, tokenizer, s);
    ASSERT_TRUE(result.has_value()) << result.error().message;
    prepared = std::move(*result);
    format->set_prompts(prepared.prompt_ids);
  }
};

Rig native_rig(const std::string& body, Settings s = settings()) {
  Rig rig;
  const auto request = parse_generate(body, s);
  EXPECT_TRUE(request.has_value()) << request.error().message;
  rig.format = native_format(*request, s, rig.tokenizer, std::chrono::steady_clock::now());
  rig.prepare_job(request->job, s);
  return rig;
}
Rig completion_rig(const std::string& body) {
  Rig rig;
  const auto request = parse_completion(body, settings());
  EXPECT_TRUE(request.has_value()) << request.error().message;
  rig.format = completion_format(*request, settings(), rig.tokenizer);
  rig.prepare_job(request->job, settings());
  return rig;
}
Rig chat_rig(const std::string& body, const AnswerForm& form = {}) {
  Rig rig;
  auto request = parse_chat(body, settings());
  EXPECT_TRUE(request.has_value()) << request.error().message;
  request->job.prompts[0].text = "hi";
  request->job.prompts[0].form = form;
  Settings server = settings();
  server.reasoning = form.reasoning;
  server.tools = form.tools;
  rig.format = chat_format(*request, server, rig.tokenizer);
  rig.prepare_job(request->job, server);
  return rig;
}

TEST(JsonWriter, EscapesAndNumbers) {
  std::string text;
  JsonWriter out(text);
  out.begin_object().key("a").string("q\"\\\n\x01\u00e9").key("b").begin_array();
  out.number(0.1f).number(-1e30).number(std::numeric_limits<float>::quiet_NaN()).null();
  out.end_array().end_object();
  EXPECT_EQ(text, "{\"a\":\"q\\\"\\\\\\n\\u0001\u00e9\",\"b\":[0.1,-1e+30,-3.4028235e+38,null]}");
  EXPECT_TRUE(Json::accept(text));
}

TEST(Errors, Shapes) {
  const auto flat = Json::parse(error_body({400, "m"}, Shape::kOpenAi));
  EXPECT_EQ(flat["object"], "error");
  EXPECT_EQ(flat["type"], "BadRequestError");
  EXPECT_EQ(flat["error"]["message"], "m");
  EXPECT_EQ(error_body({400, "m"}, Shape::kNative), R"({"error":{"message":"m"}})");
  EXPECT_EQ(Json::parse(error_body({400, "m", true}, Shape::kNative))["type"], "Bad Request");
  EXPECT_EQ(Failure(Error{ErrorCode::kUnavailable, "full"}).status, 503);
  EXPECT_EQ(Rig::parse({error_event({500, "m"})})[0]["error"]["type"], "INTERNAL_SERVER_ERROR");
}

TEST(Prepare, RidsSeedsAndLengths) {
  Rig rig = native_rig(R"({"text":"ab","rid":"r","sampling_params":{"n":2,"sampling_seed":5}})");
  EXPECT_EQ(rig.prepared.requests[0].rid, "r_0");
  EXPECT_EQ(rig.prepared.requests[1].rid, "r_1");
  EXPECT_EQ(rig.prepared.requests[1].sampling.seed, 6u);
  EXPECT_EQ(rig.prepared.requests[0].input_ids, (std::vector<int32_t>{256, 'a', 'b'}));
  Settings small = settings();
  small.context_length = small.max_request_tokens = 10;
  Rig tight = native_rig(R"({"text":"abcd"})", small);
  EXPECT_EQ(tight.prepared.requests[0].sampling.max_new_tokens, 5);  // the default shrinks
  small.allow_auto_truncate = true;
  Rig cut = native_rig(
      R"({"input_ids":[1,2,3,4,5,6,7,8,9,10,11],"sampling_params":{"max_new_tokens":9}})", small);
  EXPECT_EQ(cut.prepared.requests[0].input_ids.size(), 9u);
  EXPECT_EQ(cut.prepared.requests[0].sampling.max_new_tokens, 1);
  const auto twice = parse_generate(R"({"text":["a","b"],"rid":["x","x"]})", settings());
  EXPECT_FALSE(prepare(twice->job, rig.tokenizer, settings()).has_value());
}

TEST(Prepare, RidsAreBounded) {
  Rig rig;
  for (const char* body : {R"({"text":"a","rid":"$"})", R"({"text":["a","b"],"rid":"$"})",
                           R"({"text":["a","b"],"rid":["x","$"]})"}) {
    const auto with_rid = [&](size_t bytes) {
      std::string text = body;
      text.replace(text.find('$'), 1, std::string(bytes, 'r'));
      return prepare(parse_generate(text, settings())->job, rig.tokenizer, settings());
    };
    EXPECT_TRUE(with_rid(1024)) << body;
    EXPECT_EQ(with_rid(1025).error().message, "rid has 1025 bytes; at most 1024 are allowed.")
        << body;
  }
}

TEST(Prepare, ThePromptsOfAllSequencesAreBounded) {
  Rig rig;
  Job job{.samples = 4096};
  job.prompts.push_back({.ids = std::vector<int32_t>(17'000, 5), .tokenized = true});
  Settings wide = settings();
  wide.context_length = wide.max_request_tokens = 20'000;
  const auto refused = prepare(job, rig.tokenizer, wide);
  ASSERT_FALSE(refused);
  EXPECT_EQ(
      refused.error().message,
      "The prompts of all sequences have more than 67108864 tokens, the most that are allowed per "
      "request.");
}

TEST(Prepare, AGrammarThatBindsFromTheFirstTokenLeavesNoThoughts) {
  Settings with_grammars = settings();
  with_grammars.grammars = true;
  const Rig rig = native_rig(R"({"text":"a","sampling_params":{"regex":"[a-z]{30}",
      "custom_params":{"thinking_budget":3}}})",
                             with_grammars);
  EXPECT_FALSE(rig.prepared.requests[0].sampling.thoughts);
  const Rig free =
      native_rig(R"({"text":"a","sampling_params":{"custom_params":{"thinking_budget":3}}})");
  EXPECT_TRUE(free.prepared.requests[0].sampling.thoughts);
}

TEST(Prepare, AGrammarWaitsForTheThoughtsOfARawPrompt) {
  Settings thinking = settings();
  thinking.reasoning = &default_reasoning_dialect();
  const std::string body = R"({"text":"a","sampling_params":{"regex":"[a-z]{30}",
      "custom_params":{"thinking_budget":3}})";
  const Rig waits = native_rig(body + R"(,"require_reasoning":true})", thinking);
  const SamplingParams& sampling = waits.prepared.requests[0].sampling;
  EXPECT_EQ(sampling.grammar->starts_after, byte_ids("</think>"));
  ASSERT_TRUE(sampling.thoughts);
  EXPECT_EQ(sampling.thoughts->budget, 3);
  const Rig binds = native_rig(body + "}", thinking);
  EXPECT_TRUE(binds.prepared.requests[0].sampling.grammar->starts_after.empty());
}

TEST(Prepare, AnAnswerDoesNotEndBeforeItsGrammarBinds) {
  Settings thinking = settings();
  thinking.reasoning = &default_reasoning_dialect();
  const auto thoughts = [&](const std::string& params) {
    const Rig rig = native_rig(
        R"({"text":"a","require_reasoning":true,"sampling_params":)" + params + "}", thinking);
    return rig.prepared.requests[0].sampling.thoughts;
  };
  ASSERT_TRUE(thoughts(R"({"regex":"a"})"));
  EXPECT_TRUE(thoughts(R"({"regex":"a"})")->closes);
  EXPECT_FALSE(thoughts("{}"));
}

TEST(Prepare, ARegexsMatchIsCutFromAnAnswerThatIsNoStream) {
  for (const bool stream : {false, true}) {
    Rig rig = native_rig(fmt::format(
        R"({{"text":"a","stream":{},"sampling_params":{{"n":2,"stop_regex":"[0-9]+x"}}}})",
        stream));
    for (Choice& choice : rig.prepared.choices) {
      for (const char* piece : {"ab", "1", "2x", "y"}) {
        if (!choice.finish()) choice.push(event(piece));
      }
      EXPECT_EQ(choice.text(), stream ? "ab12" : "ab");
      EXPECT_TRUE(choice.stopped_by_text());
    }
  }
}

// The byte tokenizer makes a token of each byte.
TEST(Native, ATextFarBeyondTheContextIsToldByItsBeginning) {
  Rig rig;
  Settings small = settings();
  small.context_length = small.max_request_tokens = 10;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "é";
  const auto request = parse_generate("{\"text\":\"" + text + "\"}", small);
  ASSERT_TRUE(request);
  EXPECT_EQ(prepare(request->job, rig.tokenizer, small).error().message,
            "The input (2000 bytes, more than 20 tokens) is longer than the model's context length (10 tokens).");
  small.allow_auto_truncate = true;
  const auto cut = prepare(request->job, rig.tokenizer, small);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->requests[0].input_ids, (std::vector<int32_t>{256, 0xC3, 0xA9, 0xC3, 0xA9, 0xC3, 0xA9, 0xC3, 0xA9}));
}

TEST(Native, WithoutATokenizerThereIsNoText) {
  Settings s = settings();
  s.text = false;
  Rig rig = native_rig(
      R"({"input_ids":[[1],[2]],"return_logprob":true,"return_text_in_logprobs":true})", s);
  rig.prepared.choices[0].push(event("H"));
  const auto one = rig.chunk(0)[0];
  EXPECT_FALSE(one.contains("text"));
  EXPECT_EQ(one["output_ids"], Json({'H'}));
  EXPECT_TRUE(one["meta_info"]["output_token_logprobs"][0][2].is_null());
  const auto all = Json::parse(rig.format->answer(rig.prepared.choices));
  EXPECT_FALSE(all[1].contains("text"));
}

TEST(Native, CumulativeStream) {
  Rig rig = native_rig(R"({"text":"ab","return_logprob":true,"top_logprobs_num":2})");
  TokenEvent first = event("H");
  first.input_logprobs = {{.token = {std::nullopt, 256}}, position('a', -1)};
  rig.prepared.choices[0].push(std::move(first));
  auto one = rig.chunk(0)[0];
  EXPECT_EQ(one["text"], "H");
  EXPECT_FALSE(one.contains("index"));
  EXPECT_TRUE(one["meta_info"]["finish_reason"].is_null());
  EXPECT_TRUE(one["meta_info"]["input_token_logprobs"][0][0].is_null());
  EXPECT_TRUE(one["meta_info"]["input_top_logprobs"][0].is_null());
  rig.prepared.choices[0].push(event("i!", FinishReason::length_limit(3)));
  auto two = rig.chunk(0)[0];
  EXPECT_EQ(two["text"], "Hi!");
  EXPECT_EQ(two["output_ids"], Json({'H', 'i', '!'}));
  const auto& meta = two["meta_info"];
  EXPECT_EQ(meta["completion_tokens"], 3);
  EXPECT_EQ(meta["cached_tokens"], 1);
  EXPECT_EQ(meta["output_token_logprobs"].size(), 3u);
  EXPECT_EQ(meta["output_token_logprobs_length"], 3);
  EXPECT_EQ(meta["output_top_logprobs"][2][1][1], '!' + 1);
  EXPECT_TRUE(meta["output_token_logprobs"][0][2].is_null());
  EXPECT_EQ(meta["finish_reason"], Json({{"type", "length"}, {"length", 3}}));
  EXPECT_TRUE(meta.contains("e2e_latency"));
}

TEST(Native, IncrementalStreamIsDeltas) {
  Settings s = settings();
  s.incremental_streaming_output = true;
  Rig rig = native_rig(R"({"text":"ab","return_logprob":true})", s);
  rig.prepared.choices[0].push(event("H"));
  EXPECT_EQ(rig.chunk(0)[0]["text"], "H");
  rig.prepared.choices[0].push(event("i"));
  const auto two = rig.chunk(0)[0];
  EXPECT_EQ(two["text"], "i");
  EXPECT_EQ(two["output_ids"], Json({'i'}));
  EXPECT_EQ(two["meta_info"]["output_token_logprobs"].size(), 1u);
  EXPECT_EQ(two["meta_info"]["completion_tokens"], 2);
}

TEST(Native, BatchAnswersInOrder) {
  Rig rig =
      native_rig(R"({"text":["a","b"],"return_text_in_logprobs":true,"return_logprob":true})");
  rig.prepared.choices[1].push(event("y", FinishReason::stop_string("q")));
  EXPECT_EQ(rig.chunk(1)[0]["index"], 1);
  rig.prepared.choices[0].push(event("\xe4", FinishReason::abort("Aborted")));
  const auto answer = Json::parse(rig.format->answer(rig.prepared.choices));
  ASSERT_EQ(answer.size(), 2u);
  EXPECT_EQ(answer[1]["text"], "y");
  EXPECT_EQ(answer[1]["meta_info"]["finish_reason"]["matched"], "q");
  EXPECT_EQ(answer[0]["meta_info"]["finish_reason"]["type"], "abort");
  EXPECT_EQ(answer[0]["meta_info"]["output_token_logprobs"][0][2], "\u00e4");  // lossless
}

TEST(Completions, EchoWithLogprobs) {
  Rig rig =
      completion_rig(R"({"model":"m","prompt":"h\u00e9","echo":true,"logprobs":1,"max_tokens":2})");
  TokenEvent e = event("ok", FinishReason::length_limit(2));
  e.input_logprobs = {
      {.token = {std::nullopt, 256}}, position('h', -1), position(0xc3, -2), position(0xa9, -3)};
  rig.prepared.choices[0].push(std::move(e));
  const auto answer = Json::parse(rig.format->answer(rig.prepared.choices));
  const auto& choice = answer["choices"][0];
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["model"], "m");
  EXPECT_EQ(choice["text"], "h\u00e9ok");
  const auto& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json({"<bos>", "h", "\u00c3", "\u00a9", "o", "k"}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 0, 1, 1, 2, 3}));
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][4]["o"], logprobs["token_logprobs"][4]);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["total_tokens"], 4);
  EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
}

TEST(Completions, StreamHasNoEmptyChoicesUnlessUsageIsAsked) {
  Rig rig = completion_rig(R"({"prompt":"a","echo":true,"stream":true,"stop":"END"})");
  rig.prepared.choices[0].push(event("E"));
  EXPECT_EQ(rig.chunk(0)[0]["choices"][0]["text"], "a");
  rig.prepared.choices[0].push(event("N"));
  EXPECT_TRUE(rig.chunk(0).empty());  // held back: nothing to say
  rig.prepared.choices[0].push(event("D"));
  const auto last = rig.chunk(0)[0]["choices"][0];
  EXPECT_EQ(last["text"], "");
  EXPECT_EQ(last["finish_reason"], "stop");
  EXPECT_EQ(last["matched_stop"], "END");
  EXPECT_TRUE(rig.closing().empty());

  Rig usage =
      completion_rig(R"({"prompt":"a","stream":true,"stream_options":{"include_usage":true}})");
  usage.prepared.choices[0].push(event("x", FinishReason::length_limit(1)));
  const auto closing = usage.closing();
  ASSERT_EQ(closing.size(), 1u);
  EXPECT_TRUE(closing[0]["choices"].empty());
  EXPECT_EQ(closing[0]["usage"]["completion_tokens"], 1);
}

TEST(Completions, AStreamHasThePromptsTokensOnce) {
  Rig rig = completion_rig(R"({"prompt":"ab","n":2,"stream":true,"return_token_ids":true})");
  for (size_t i = 0; i < 2; ++i) {
    rig.prepared.choices[i].push(event("x"));
    EXPECT_EQ(rig.chunk(i)[0]["choices"][0]["prompt_token_ids"], Json({256, 'a', 'b'}));
    rig.prepared.choices[i].push(event("y"));
    EXPECT_FALSE(rig.chunk(i)[0]["choices"][0].contains("prompt_token_ids"));
  }
}

TEST(Completions, BestOf) {
  Rig rig = completion_rig(R"({"prompt":"a","n":1,"best_of":2})");
  rig.prepared.choices[0].push(event("z", FinishReason::length_limit(1)));
  rig.prepared.choices[1].push(event("b", FinishReason::length_limit(1)));  // more likely
  const auto answer = Json::parse(rig.format->answer(rig.prepared.choices));
  ASSERT_EQ(answer["choices"].size(), 1u);
  EXPECT_EQ(answer["choices"][0]["text"], "b");
  EXPECT_TRUE(answer["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(answer["usage"]["completion_tokens"], 2);
}

TEST(Chat, AnswerAndStreamAgree) {
  const std::string body = R"({"messages":[{"role":"user","content":"x"}],"logprobs":true,
      "top_logprobs":2,"return_token_ids":true,"n":2})";
  Rig rig = chat_rig(body);
  std::string streamed;
  size_t tokens = 0, logprobs = 0;
  for (const size_t i : {size_t{0}, size_t{1}}) {
    rig.prepared.choices[i].push(event("\xe4\xb8"));
    auto chunks = rig.chunk(i);
    EXPECT_EQ(chunks[0]["choices"][0]["delta"], Json({{"role", "assistant"}, {"content", ""}}));
    rig.prepared.choices[i].push(event("\xad!", FinishReason::length_limit(4)));
    for (const auto& chunk : rig.chunk(i)) chunks.push_back(chunk);
    for (const auto& chunk : chunks) {
      const auto& choice = chunk["choices"][0];
      EXPECT_EQ(choice["index"], i);
      EXPECT_TRUE(choice["finish_reason"].is_null());
      if (i == 0) streamed += choice["delta"].value("content", "");
      tokens += choice["token_ids"].size();
      if (!choice["logprobs"].is_null()) logprobs += choice["logprobs"]["content"].size();
    }
  }
  EXPECT_EQ(streamed, "\u4e2d!");
  EXPECT_EQ(tokens, 8u);
  EXPECT_EQ(logprobs, 8u);
  const auto closing = rig.closing();
  ASSERT_EQ(closing.size(), 2u);
  EXPECT_EQ(closing[1]["choices"][0]["index"], 1);
  EXPECT_EQ(closing[1]["choices"][0]["finish_reason"], "length");

  const auto answer = Json::parse(rig.format->answer(rig.prepared.choices));
  EXPECT_EQ(answer["choices"][0]["message"]["content"], streamed);
  EXPECT_EQ(answer["choices"][0]["logprobs"]["content"][3]["bytes"], Json({'!'}));
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 2);  // once, however many samples
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
}

const AnswerForm kThinksAndCalls{.reasoning = *find_reasoning_dialect("deepseek-r1"),
                                 .starts_in_thoughts = true,
                                 .tools = *find_tool_dialect("deepseekv31"),
                                 .tool_names = {"f"}};
constexpr std::string_view kThinkingThenCall =
    "a b</think>ok <｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": 1}<｜tool▁call▁end｜>";
// `text`, then the end token.
TokenEvent ended(const std::string& text) {
  TokenEvent out = event(text, FinishReason::stop_token(ByteTokenizer::kEos));
  out.tokens.push_back(ByteTokenizer::kEos);
  return out;
}
const std::string kChat = R"({"messages":[{"role":"user","content":"x"}]})";

TEST(Chat, AStreamHasThePromptsTokensOnce) {
  Rig rig = chat_rig(
      R"({"messages":[{"role":"user","content":"x"}],"stream":true,"return_prompt_token_ids":true})");
  rig.prepared.choices[0].push(event("xy", FinishReason::length_limit(2)));
  const auto chunks = rig.chunk(0);
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0]["choices"][0]["prompt_token_ids"], Json({'h', 'i'}));
  EXPECT_FALSE(chunks[1]["choices"][0].contains("prompt_token_ids"));
  EXPECT_FALSE(rig.closing()[0]["choices"][0].contains("prompt_token_ids"));
}

TEST(Chat, MetaInfoIsThatOfGenerate) {
  const std::string body =
      R"({"messages":[{"role":"user","content":"x"}],"rid":"r","return_meta_info":true)";
  Rig whole = chat_rig(body + "}");
  whole.prepared.choices[0].push(event("ok", FinishReason::length_limit(2)));
  const auto meta =
      Json::parse(whole.format->answer(whole.prepared.choices))["choices"][0]["meta_info"];
  EXPECT_EQ(meta["id"], "r");
  EXPECT_EQ(meta["finish_reason"], Json({{"type", "length"}, {"length", 2}}));
  EXPECT_EQ(meta["completion_tokens"], 2);
  EXPECT_GE(meta["e2e_latency"], 0);

  Rig stream = chat_rig(body + R"(,"stream":true})");
  stream.prepared.choices[0].push(event("o"));
  for (const Json& chunk : stream.chunk(0)) EXPECT_FALSE(chunk["choices"][0].contains("meta_info"));
  stream.prepared.choices[0].push(event("k", FinishReason::length_limit(2)));
  stream.chunk(0);
  EXPECT_EQ(stream.closing()[0]["choices"][0]["meta_info"]["completion_tokens"], 2);
}

TEST(Chat, ThoughtsAndCallsAreMadePartsOfTheMessage) {
  Rig rig = chat_rig(kChat, kThinksAndCalls);
  rig.prepared.choices[0].push(ended(std::string(kThinkingThenCall)));
  const auto answer = Json::parse(rig.format->answer(rig.prepared.choices));
  const auto& choice = answer["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["matched_stop"].is_null());
  EXPECT_EQ(choice["message"]["content"], "ok");
  EXPECT_EQ(choice["message"]["reasoning_content"], "a b");
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u);
  const auto& call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(call["function"], Json({{"name", "f"}, {"arguments", R"({"x": 1})"}}));
  EXPECT_EQ(call["id"].get<std::string>().size(), 29u);  // call_ and 24 digits
  EXPECT_EQ(answer["usage"]["reasoning_tokens"], 11);    // one per byte, the tag's included
  EXPECT_EQ(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 11);
}

TEST(Chat, StreamedPiecesMakeTheSameMessage) {
  Rig rig = chat_rig(kChat, kThinksAndCalls);
  std::string content, reasoning, arguments, name, id;
  for (size_t i = 0; i < kThinkingThenCall.size(); ++i) {
    std::optional<FinishReason> finish;
    if (i + 1 == kThinkingThenCall.size()) finish = FinishReason::length_limit(1);
    rig.prepared.choices[0].push(event(kThinkingThenCall.substr(i, 1), finish));
    for (const auto& chunk : rig.chunk(0)) {
      const auto& delta = chunk["choices"][0]["delta"];
      ASSERT_TRUE(delta.contains("reasoning_content")) << delta;
      EXPECT_TRUE(chunk["choices"][0]["finish_reason"].is_null());
      if (delta["reasoning_content"].is_string()) reasoning += delta["reasoning_content"];
      if (delta.contains("content") && delta["content"].is_string()) content += delta["content"];
      if (!delta.contains("tool_calls")) continue;
      const auto& call = delta["tool_calls"][0];
      EXPECT_EQ(call["index"], 0);
      if (call["id"].is_string()) id += call["id"];
      if (call["function"]["name"].is_string()) name += call["function"]["name"];
      arguments += call["function"]["arguments"];
    }
  }
  EXPECT_EQ(content, "ok");
  EXPECT_EQ(reasoning, "a b");
  EXPECT_EQ(name, "f");
  EXPECT_EQ(arguments, R"({"x": 1})");
  EXPECT_EQ(id.size(), 29u);
  // Cut by its length, the answer keeps that reason.
  const auto closing = rig.closing();
  EXPECT_EQ(closing[0]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(closing[0]["choices"][0]["delta"], Json({{"reasoning_content", nullptr}}));
}

TEST(Chat, ACallThatIsNoJsonIsContent) {
  Rig rig = chat_rig(kChat, kThinksAndCalls);
  const std::string call = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": ";
  rig.prepared.choices[0].push(ended("</think>hm " + call));
  const auto choice = Json::parse(rig.format->answer(rig.prepared.choices))["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["message"]["content"], "hm " + call);
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

}  // namespace
}  // namespace fathom::api
