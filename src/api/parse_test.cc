#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/chat.h"
#include "api/completions.h"
#include "api/native.h"
#include "api/score.h"
#include "base/json.h"

namespace fathom::api {
namespace {

Settings parse_settings() {
  Settings s;
  s.vocab_size = 2048;
  s.context_length = 4096;
  s.max_request_tokens = 4096;
  return s;
}

Failure native_failure(const std::string& body) {
  const auto parsed = parse_generate(body, parse_settings());
  EXPECT_FALSE(parsed.has_value()) << body;
  return parsed ? Failure(200, "") : parsed.error();
}
NativeRequest native(const std::string& body) {
  auto parsed = parse_generate(body, parse_settings());
  EXPECT_TRUE(parsed.has_value()) << body << ": " << (parsed ? "" : parsed.error().message);
  return parsed ? *parsed : NativeRequest();
}
SamplingParams sampling_of(const std::string& params) {
  const auto request = native(R"({"text":"x","sampling_params":)" + params + "}");
  return request.job.prompts.empty() ? SamplingParams() : request.job.prompts[0].sampling;
}
std::string sampling_error(const std::string& params) {
  return native_failure(R"({"text":"x","sampling_params":)" + params + "}").message;
}

std::string nested(size_t depth) {
  return std::string(depth, '[') + '1' + std::string(depth, ']');
}

TEST(Json, MalformedBodiesAreSchemaErrors) {
  for (const char* body :
       {"", "{", "[1,2", "\xff\xfe", "{\"text\": \"\xc3\"}", R"({"text":NaN})", R"({"text":"a"} x)",
        R"({"text":"\ud800"})", R"({"text":"\udc00"})", R"({"text":"x","rid":"\ud800\u0041"})",
        "null", "5", R"("text")", R"({"text":"x","priority":18446744073709551616})"}) {
    const Failure failure = native_failure(body);
    EXPECT_EQ(failure.status, 400) << body;
    EXPECT_TRUE(failure.schema) << body;
  }
}

TEST(Json, DepthIsBounded) {
  EXPECT_TRUE(JsonDocument::parse(nested(128)).has_value());
  EXPECT_FALSE(JsonDocument::parse(nested(129)).has_value());
  const Failure failure = native_failure(nested(100000));
  EXPECT_NE(failure.message.find("128"), std::string::npos) << failure.message;
}

TEST(Json, OfDuplicateKeysTheLastWins) {
  EXPECT_EQ(native(R"({"text":"a","text":"b"})").job.prompts[0].text, "b");
}

TEST(Json, SurrogatePairsAreCharacters) {
  EXPECT_EQ(native(R"({"text":"\ud83d\ude00"})").job.prompts[0].text, "\U0001F600");
}

TEST(Sampling, DefaultsAndNulls) {
  const SamplingParams s = sampling_of(R"({"temperature":null,"stop":null,"top_k":null,"n":null})");
  EXPECT_EQ(s.temperature, 1.0);
  EXPECT_EQ(s.max_new_tokens, 128);
  EXPECT_TRUE(s.stop.empty());
  EXPECT_EQ(s.top_k, -1);
}

TEST(Sampling, NullIsAsManyNewTokensAsFit) {
  const auto request = native(R"({"text":"x","sampling_params":{"max_new_tokens":null}})");
  EXPECT_EQ(request.job.prompts[0].sampling.max_new_tokens, -1);
  EXPECT_FALSE(request.job.prompts[0].explicit_length);
}

TEST(Sampling, ReadsEveryField) {
  const SamplingParams s = sampling_of(R"({"max_new_tokens":5.0,"min_new_tokens":2,"stop":"a",
      "stop_token_ids":[1,2],"stop_regex":["b+"],"temperature":0,"top_p":0.5,"top_k":3,"min_p":0.1,
      "frequency_penalty":-2,"presence_penalty":2,"repetition_penalty":1.5,"ignore_eos":true,
      "skip_special_tokens":false,"no_stop_trim":true,"logit_bias":{"7":-1.5},"sampling_seed":-1,
      "regex":"","json_schema":null})");
  EXPECT_EQ(s.max_new_tokens, 5);
  EXPECT_EQ(s.min_new_tokens, 2);
  EXPECT_EQ(s.stop, std::vector<std::string>{"a"});
  EXPECT_EQ(s.stop_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(s.stop_regex, std::vector<std::string>{"b+"});
  EXPECT_TRUE(s.greedy());
  EXPECT_EQ(s.top_p, 0.5);
  EXPECT_EQ(s.top_k, 3);
  EXPECT_EQ(s.min_p, 0.1);
  EXPECT_EQ(s.frequency_penalty, -2);
  EXPECT_EQ(s.presence_penalty, 2);
  EXPECT_EQ(s.repetition_penalty, 1.5);
  EXPECT_TRUE(s.ignore_eos && s.no_stop_trim && !s.skip_special_tokens);
  EXPECT_EQ(s.logit_bias, (std::vector<std::pair<int32_t, float>>{{7, -1.5f}}));
  EXPECT_EQ(s.seed, ~uint64_t{0});
}

TEST(Sampling, ListsOfIdsHoldEachOnce) {
  const SamplingParams s =
      sampling_of(R"({"stop_token_ids":[9,2,9,2],"logit_bias":{"7":1,"3":5,"7":2}})");
  EXPECT_EQ(s.stop_token_ids, (std::vector<int32_t>{2, 9}));
  EXPECT_EQ(s.logit_bias, (std::vector<std::pair<int32_t, float>>{{3, 5.0f}, {7, 2.0f}}));
}

TEST(Sampling, ListsAndKeysAreBounded) {
  const auto ids = [](int32_t n) {
    std::string text = R"({"stop_token_ids":[0)";
    for (int32_t id = 1; id < n; ++id) text += "," + std::to_string(id);
    return text + ",1,1]}";
  };
  EXPECT_EQ(sampling_of(ids(1024)).stop_token_ids.size(), 1024u);
  EXPECT_EQ(sampling_error(ids(1025)), "stop_token_ids may hold at most 1024 ids, got 1025.");
  const auto with_key = [](const std::string& name, size_t bytes) {
    return R"({"text":"a",")" + name + "\":\"" + std::string(bytes, 'k') + "\"}";
  };
  for (const std::string name : {"extra_key", "cache_salt"}) {
    native(with_key(name, 1024));
    EXPECT_EQ(native_failure(with_key(name, 1025)).message,
              name + " has 1025 bytes; at most 1024 are allowed.");
  }
}

TEST(Sampling, PromptsShareOneObjectsLists) {
  const auto prompts = native(R"({"text":["a","b","c"],"sampling_params":{"max_new_tokens":3,
      "stop":["x"],"stop_regex":["y"],"logit_bias":{"1":1},"stop_token_ids":[1]}})")
                           .job.prompts;
  for (const Prompt& p : prompts) {
    EXPECT_EQ(&p.sampling.stop.get(), &prompts[0].sampling.stop.get());
    EXPECT_EQ(&p.sampling.stop_regex.get(), &prompts[0].sampling.stop_regex.get());
    EXPECT_EQ(&p.sampling.logit_bias.get(), &prompts[0].sampling.logit_bias.get());
    EXPECT_EQ(&p.sampling.stop_token_ids.get(), &prompts[0].sampling.stop_token_ids.get());
    EXPECT_EQ(p.sampling.max_new_tokens, 3);
    EXPECT_TRUE(p.explicit_length);
  }
}

TEST(Sampling, ErrorsNameFieldRangeAndValue) {
  EXPECT_EQ(sampling_error(R"({"top_p":1.5})"), "top_p must be in (0, 1], got 1.5.");
  EXPECT_EQ(sampling_error(R"({"temperature":-0.5})"),
            "temperature must be in [0, inf), got -0.5.");
  EXPECT_EQ(sampling_error(R"({"top_k":0})"),
            "top_k must be -1 (all tokens) or at least 1, got 0.");
  EXPECT_EQ(sampling_error(R"({"max_new_tokens":-1})"),
            "max_new_tokens must be in [0, 2147483647], got -1.");
  EXPECT_EQ(sampling_error(R"({"max_new_tokens":1.5})"), "max_new_tokens: must be an integer");
  EXPECT_EQ(sampling_error(R"({"max_new_tokens":"5"})"), "max_new_tokens: must be an integer");
  EXPECT_EQ(sampling_error(R"({"max_new_tokens":true})"), "max_new_tokens: must be an integer");
  EXPECT_EQ(sampling_error(R"({"min_new_tokens":3,"max_new_tokens":2})"),
            "min_new_tokens must be in [0, max_new_tokens = 2], got 3.");
  EXPECT_EQ(sampling_error(R"({"regex":"a","ebnf":"b"})"),
            "Only one of json_schema, regex, ebnf, or structural_tag can be set.");
  EXPECT_FALSE(native_failure(R"({"text":"x","sampling_params":{"top_k":"a"}})").schema);
  EXPECT_TRUE(native_failure(R"({"text":"x","stream":"yes"})").schema);
}

TEST(Generate, SinglesBatchesAndSamples) {
  const auto single = native(R"({"text":"a","rid":"r"})");
  EXPECT_FALSE(single.batch);
  EXPECT_EQ(single.job.prompts[0].rid, "r");
  const auto batch = native(R"({"input_ids":[[1],[2,3]],"rid":"r","return_logprob":[true,false],
      "sampling_params":[{"max_new_tokens":1},{"max_new_tokens":2}]})");
  EXPECT_TRUE(batch.batch);
  EXPECT_EQ(batch.job.rid_base, "r");
  EXPECT_EQ(batch.job.prompts[1].sampling.max_new_tokens, 2);
  EXPECT_TRUE(batch.job.prompts[0].logprob.enabled);
  EXPECT_FALSE(batch.job.prompts[1].logprob.enabled);
  const auto samples = native(R"({"text":"a","sampling_params":{"n":3}})");
  EXPECT_TRUE(samples.batch);
  EXPECT_EQ(samples.job.sequences(), 3u);
  EXPECT_THAT(native_failure(R"({"text":["a","b"],"sampling_params":[{"n":2},null]})").message,
              testing::HasSubstr("n must be the same for all prompts of a batch, got 2 and 1"));
}

TEST(Generate, LimitsAreCheckedBeforeAnythingGrows) {
  EXPECT_EQ(sampling_error(R"({"n":1000000})"), "n must be in [1, 128], got 1000000.");
  Settings few = parse_settings();
  few.max_sequences_per_request = 4;
  EXPECT_FALSE(parse_generate(R"({"text":["a","b","c"],"sampling_params":{"n":2}})", few));
  EXPECT_FALSE(parse_generate(R"({"text":["a","b","c","d","e"]})", few));
  few.max_top_logprobs = 2;
  EXPECT_TRUE(parse_generate(R"({"text":"a","top_logprobs_num":2,"token_ids_logprob":[1,2]})", few));
  EXPECT_EQ(parse_generate(R"({"text":"a","top_logprobs_num":3})", few).error().message,
            "top_logprobs_num must be in [0, 2], got 3.");
  EXPECT_EQ(parse_generate(R"({"text":"a","token_ids_logprob":[1,2,3]})", few).error().message,
            "token_ids_logprob holds 3 token ids; at most 2 are allowed (--max-top-logprobs).");
}

TEST(Score, LimitsAreCheckedBeforeAnythingGrows) {
  const auto failure = [](std::string_view label_ids, size_t query_bytes, int items) {
    std::string body = fmt::format(R"({{"label_token_ids":{},"query":"{}","items":["a")", label_ids,
                                   std::string(query_bytes, 'q'));
    for (int i = 1; i < items; ++i) body += R"(,"a")";
    const auto parsed = parse_score(body + "]}", parse_settings());
    return parsed ? std::string() : parsed.error().message;
  };
  EXPECT_EQ(failure("[1]", 10, 3), "");
  EXPECT_THAT(failure("[1]", 10, 5000), testing::HasSubstr("at most 4096 are allowed per request"));
  EXPECT_THAT(failure("[1]", 1 << 20, 300), testing::HasSubstr("query and items make 314573100 bytes"));
  std::string ids = "[1";
  for (int i = 0; i < 4096; ++i) ids += ",1";
  EXPECT_THAT(failure(ids + "]", 1, 1), testing::HasSubstr("label_token_ids holds 4097 token ids"));
}

TEST(Generate, RefusesWhatItCannotDo) {
  EXPECT_EQ(native_failure("{}").message,
            "Either text, input_ids or input_embeds should be provided.");
  EXPECT_EQ(native_failure(R"({"input_ids":[]})").message, "input_ids cannot be empty.");
  EXPECT_EQ(native_failure(R"({"input_ids":[1,2048]})").message,
            "input_ids[1]: token id 2048 is outside [0, 2048).");
  EXPECT_EQ(native_failure(R"({"input_ids":[[1],[]]})").message, "input_ids[1] cannot be empty.");
  EXPECT_EQ(native_failure(R"({"text":["a"],"rid":["x","y"]})").message,
            "rid has 2 entries, but the batch has 1 prompts.");
  EXPECT_FALSE(native_failure(R"({"text":"a","lora_path":"b"})").message.empty());
  EXPECT_FALSE(native_failure(R"({"text":["a","c"],"lora_path":[null,"b"]})").message.empty());
  EXPECT_EQ(
      native(R"({"text":["a","b"],"lora_path":[null,null],"image_data":[null],"video_data":[]})")
          .job.prompts.size(),
      2u);
  EXPECT_TRUE(native(R"({"text":"a","lora_path":null,"image_data":null,"unknown":[1]})")
                  .job.prompts.size() == 1);
}

TEST(Generate, WithoutATokenizerThereAreNoStopStrings) {
  Settings s = parse_settings();
  s.text = false;
  for (const char* name : {"stop", "stop_regex"}) {
    const auto parsed = parse_generate(
        fmt::format(R"({{"input_ids":[1],"sampling_params":{{"{}":"x"}}}})", name), s);
    ASSERT_FALSE(parsed.has_value());
    EXPECT_EQ(parsed.error().status, 400);
    EXPECT_THAT(parsed.error().message,
                testing::AllOf(testing::StartsWith(name), testing::HasSubstr("stop_token_ids")));
  }
  EXPECT_TRUE(parse_generate(
      R"({"input_ids":[1],"sampling_params":{"stop":[],"stop_regex":null,"stop_token_ids":[2]}})",
      s));
}

TEST(Generate, DifferentNamespacesStayDifferent) {
  EXPECT_NE(native(R"({"text":"a","extra_key":"x"})").job.cache_namespace,
            native(R"({"text":"a","cache_salt":"x"})").job.cache_namespace);
}

TEST(Completions, PromptForms) {
  const auto parse = [](const std::string& prompt) {
    return parse_completion(R"({"model":"m","prompt":)" + prompt + "}", parse_settings());
  };
  EXPECT_EQ(parse(R"("a")")->job.prompts.size(), 1u);
  EXPECT_EQ(parse(R"(["a","b"])")->job.prompts.size(), 2u);
  EXPECT_EQ(parse("[1,2]")->job.prompts[0].ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(parse("[[1],[2]]")->job.prompts.size(), 2u);
  for (const char* bad : {"\"\"", "[]", "[\"\"]", "[[]]", "[1,\"a\"]", "[\"a\",1]", "5", "null"}) {
    EXPECT_FALSE(parse(bad).has_value()) << bad;
  }
  EXPECT_EQ(parse("\"a\"")->job.prompts[0].sampling.max_new_tokens, 16);
}

TEST(OpenAi, AnEmptyRidIsNone) {
  for (const char* rid : {R"("")", R"([""])", "[]", "null"}) {
    const auto request =
        parse_completion(fmt::format(R"({{"prompt":"a","rid":{}}})", rid), parse_settings());
    ASSERT_TRUE(request) << request.error().message;
    EXPECT_TRUE(request->options.id.starts_with("cmpl-")) << rid;
  }
}

TEST(Completions, BestOfRanksByLogprob) {
  const auto request =
      parse_completion(R"({"prompt":"a","n":2,"best_of":4,"max_tokens":1})", parse_settings());
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->job.samples, 4);
  EXPECT_TRUE(request->job.prompts[0].logprob.enabled);
  EXPECT_FALSE(parse_completion(R"({"prompt":"a","best_of":2,"stream":true})", parse_settings()));
}

TEST(Constraints, EveryWayToAskForAForm) {
  using Kind = GrammarSpec::Kind;
  EXPECT_FALSE(sampling_of(R"({"regex":"","ebnf":null})").grammar);
  const std::pair<const char*, Kind> fields[] = {{"json_schema", Kind::kJsonSchema},
                                                 {"regex", Kind::kRegex},
                                                 {"ebnf", Kind::kEbnf},
                                                 {"structural_tag", Kind::kStructuralTag}};
  for (const auto& [name, kind] : fields) {
    const auto grammar = sampling_of(fmt::format(R"({{"{}":"text"}})", name)).grammar;
    ASSERT_TRUE(grammar) << name;
    EXPECT_EQ(grammar->kind, kind);
    EXPECT_EQ(grammar->text, "text");
  }
  const auto of_format = [](const std::string& format) {
    const auto request =
        parse_completion(R"({"prompt":"a","response_format":)" + format + "}", parse_settings());
    EXPECT_TRUE(request) << (request ? "" : request.error().message);
    return request->job.prompts[0].sampling.grammar;
  };
  EXPECT_FALSE(of_format(R"({"type":"text"})"));
  EXPECT_EQ(of_format(R"({"type":"json_object"})")->text, R"({"type": "object"})");
  EXPECT_EQ(of_format(R"({"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":2}}})")->text,
            R"({"b":1,"a":2})");
  EXPECT_EQ(of_format(R"({"type":"json_schema","schema":{"type":"null"}})")->text, R"({"type":"null"})");
  const auto tag = of_format(R"({"type":"structural_tag","format":{"type":"any_text"}})");
  EXPECT_EQ(tag->kind, Kind::kStructuralTag);
  EXPECT_EQ(tag->text, R"({"type":"structural_tag","format":{"type":"any_text"}})");

  Settings off = parse_settings();
  off.grammars = false;
  const auto refused = parse_generate(R"({"text":"a","sampling_params":{"regex":"a"}})", off);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "Grammar-based generation (json_schema, regex, ebnf, structural_tag) is not supported "
            "when the server is launched with --grammar-backend none");
}

Json context_of(const std::string& body) {
  const auto request = parse_chat(body, parse_settings());
  EXPECT_TRUE(request.has_value()) << (request ? "" : request.error().message);
  return request ? Json::parse(request->chat.context_json) : Json();
}
std::string chat_error(const std::string& body) {
  const auto request = parse_chat(body, parse_settings());
  return request ? "no error" : request.error().message;
}

TEST(Chat, MessagesBecomeTheTemplatesContext) {
  const auto context = context_of(R"({"messages":[{"role":"DEVELOPER","content":"s"},
    {"role":"user","content":[{"type":"text","text":"a"},{"type":"input_text","text":"b"}]},
    {"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":"f"}}]},{"role":"user","content":null}],
    "chat_template_kwargs":{"thinking":true,"messages":1},"tools":[{"type":"function",
    "function":{"name":"f","parameters":{"type":"object"}}}]})");
  EXPECT_EQ(context["messages"][0]["role"], "system");
  EXPECT_EQ(context["messages"][1]["content"],
            Json({{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}));
  EXPECT_TRUE(context["messages"][2]["content"].is_null());
  EXPECT_EQ(context["messages"][3]["content"], "");
  EXPECT_EQ(context["thinking"], true);
  EXPECT_EQ(context["add_generation_prompt"], true);
  EXPECT_EQ(context["tools"].size(), 1u);
}

TEST(Chat, LastAssistantMessage) {
  const std::string start = R"({"messages":[{"role":"user","content":"a"},{"role":"assistant",)";
  EXPECT_EQ(context_of(start + R"("content":"b"}]})")["messages"][1]["role"], "user");
  const auto continued =
      parse_chat(start + R"("content":"b"}],"continue_final_message":true})", parse_settings());
  EXPECT_EQ(continued->chat.prefill, "b");
  const auto prefix = parse_chat(start + R"("content":"c","prefix":true}]})", parse_settings());
  EXPECT_EQ(prefix->chat.prefill, "c");
}

TEST(Chat, AnAnswerToTokensIsReadAsToMessages) {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f"}}],"reasoning_effort":"none")";
  const auto request =
      parse_chat(R"({"input_ids":[1,2],"tool_choice":"required",)" + tools + "}", parse_settings());
  ASSERT_TRUE(request) << request.error().message;
  ASSERT_EQ(request->chat.tool_use.tools.size(), 1u);
  EXPECT_TRUE(request->chat.tool_use.required);
  EXPECT_EQ(request->chat.thinking, false);
  EXPECT_FALSE(parse_chat(R"({"input_ids":[1,2],"tool_choice":"required"})", parse_settings()));
}

TEST(Chat, ReasoningEffortSwitchesThinking) {
  const std::string start = R"({"messages":[{"role":"user","content":"a"}],)";
  EXPECT_EQ(context_of(start + R"("reasoning_effort":"none"})")["thinking"], false);
  EXPECT_EQ(context_of(start + R"("reasoning_effort":"high"})")["enable_thinking"], true);
  EXPECT_NE(chat_error(start + R"("reasoning_effort":true})"), "no error");
  EXPECT_NE(chat_error(start + R"("reasoning_effort":"huge"})"), "no error");
}

TEST(Chat, CallsOfTheAssistantAreChecked) {
  const auto error = [](const std::string& calls) {
    return chat_error(R"({"messages":[{"role":"assistant","tool_calls":)" + calls + "}]}");
  };
  EXPECT_EQ(error(R"("f")"), "messages[0].tool_calls: must be a list");
  EXPECT_EQ(error("[5]"), "messages[0].tool_calls[0]: must be a JSON object");
  EXPECT_EQ(error(R"([{"function":{"name":"f"}},{}])"),
            "messages[0].tool_calls[1].function: is required");
  EXPECT_EQ(error(R"([{"function":{"arguments":"{}"}}])"),
            "messages[0].tool_calls[0].function.name: is required");
  EXPECT_EQ(error("[]"), "no error");
  EXPECT_EQ(error("null"), "no error");
}

TEST(Chat, Errors) {
  EXPECT_EQ(chat_error("{}"), "messages: is required");
  EXPECT_EQ(chat_error(R"({"messages":[]})"), "Messages cannot be empty.");
  EXPECT_EQ(
      chat_error(R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":5}]})"),
      "messages[1].content: must be a string or a list of content parts");
  EXPECT_EQ(chat_error(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"),
            "Model only supports text input; received unsupported content type 'image_url'.");
  const std::string start = R"({"messages":[{"role":"user","content":"a"}],)";
  EXPECT_EQ(chat_error(start + R"("max_tokens":"5"})"), "max_tokens: must be an integer");
  EXPECT_EQ(chat_error(start + R"("regex":"a","response_format":{"type":"json_object"}})"),
            "Only one of json_schema, regex, ebnf, or structural_tag can be set.");
  EXPECT_EQ(chat_error(start + R"("response_format":{"type":"poem"}})"),
            "response_format.type must be text, json_object, json_schema or structural_tag, got 'poem'.");
  EXPECT_EQ(chat_error(start + R"("response_format":{"type":"json_schema"}})"),
            "schema_ is required for json_schema response format request.");
  EXPECT_EQ(chat_error(start + R"("tool_choice":"required"})"),
            "Tools cannot be empty if tool choice is set to required.");
  EXPECT_EQ(
      chat_error(start +
                 R"("tools":[{"function":{"name":"f"}}],"tool_choice":{"function":{"name":"g"}}})"),
      "Tool 'g' not found in tools list.");
  EXPECT_EQ(chat_error(start + R"("top_logprobs":21})"),
            "top_logprobs must be in [0, 20], got 21.");
  EXPECT_EQ(chat_error(start + R"("response_format":{"type":"text"},"tools":null,"max_tokens":0})"),
            "no error");
}

TEST(Defaults, PreferredAndGenerationConfig) {
  const auto preferred = parse_sampling_defaults(R"({"temperature":0.3,"max_new_tokens":9})", {});
  ASSERT_TRUE(preferred.has_value());
  EXPECT_EQ(preferred->max_new_tokens, 9);
  EXPECT_FALSE(parse_sampling_defaults(R"({"top_p":7})", {}).has_value());
  const auto config = parse_generation_config(R"({"temperature":0.6,"top_p":0.95,"eos":1})", {});
  EXPECT_EQ(config->temperature, 0.6);
}

}  // namespace
}  // namespace fathom::api
