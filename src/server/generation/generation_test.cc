#include "server/generation/generation.h"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "base/json.h"
#include "server/generation/testing/stand_ins.h"

namespace fathom {
namespace {

struct Rig {
  boost::asio::io_context io;
  TextPool pool{1};
  Metrics metrics{{.model_name = "m"}};
  AlphabetEngine engine;
  Arrivals arrivals;
  RecordingResponder responder{io};
  std::unique_ptr<GenerationHandlers> handlers;

  Rig() {
    api::Settings settings;
    settings.vocab_size = 2048;
    settings.context_length = settings.max_request_tokens = 4096;
    handlers = std::make_unique<GenerationHandlers>(GenerationHandlers::Parts{
        .submit = [this](GenerateRequest request,
                         OnTokens on_tokens) { return engine.submit(request, on_tokens); },
        .arrivals = &arrivals,
        .tokenizer = std::make_shared<api::ByteTokenizer>(),
        .chat_template = std::make_shared<EchoTemplate>(),
        .settings = settings,
        .pool = &pool,
        .metrics = &metrics});
  }

  // Of all labels together.
  double counted(const std::string& name) {
    std::istringstream lines(metrics.text({}));
    double sum = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("sglang:" + name + "{")) sum += std::stod(line.substr(line.rfind(' ')));
    }
    return sum;
  }

  GenerationHandlers::Done handle(const http::Request& request) {
    const std::string& path = request.path;
    if (path == "/generate") return handlers->generate(request, responder);
    if (path == "/v1/completions") return handlers->completions(request, responder);
    if (path == "/v1/chat/completions") return handlers->chat_completions(request, responder);
    if (path == "/vertex_generate") return handlers->vertex_generate(request, responder);
    if (path == "/v1/messages") return handlers->messages(request, responder);
    if (path == "/v1/messages/count_tokens") return handlers->count_tokens(request, responder);
    if (path == "/v1/responses") return handlers->responses(request, responder);
    if (path == "/v1/embeddings") return handlers->embeddings(request, responder);
    if (path == "/encode") return handlers->encode(request, responder);
    if (path == "/v1/score") return handlers->score(request, responder);
    if (path.ends_with("detokenize")) return handlers->detokenize(request, responder);
    return handlers->tokenize(request, responder);
  }
  void run(const http::Request& request) {
    boost::asio::co_spawn(io, handle(request), [](const std::exception_ptr& error) {
      if (error) std::rethrow_exception(error);
    });
    io.run();
  }
  void post(const std::string& path, const Json& body) {
    run({.method = "POST",
         .path = path,
         .headers = {{"Content-Type", "application/json"}},
         .body = body.dump()});
  }
  Json body() const { return Json::parse(responder.sent->body); }
};

// Does `got` have everything that `want` names? Explains the first difference.
std::string difference(const Json& want, const Json& got, const std::string& path) {
  const auto unlike = [&] { return path + ": want " + want.dump() + ", got " + got.dump(); };
  if (want.is_string()) {
    const auto text = want.get<std::string>();
    if (text == "$any") return "";
    if (text == "$string") return got.is_string() ? "" : unlike();
    if (text == "$int") return got.is_number_integer() ? "" : unlike();
    if (text == "$number") return got.is_number() ? "" : unlike();
    if (text.starts_with("$contains:")) {
      const bool found =
          got.is_string() && got.get<std::string>().find(text.substr(10)) != std::string::npos;
      return found ? "" : unlike();
    }
  }
  if (want.is_array() && got.is_array()) {
    if (want.size() != got.size()) return unlike();
    for (size_t i = 0; i < want.size(); ++i) {
      auto text = difference(want[i], got[i], path + "[" + std::to_string(i) + "]");
      if (!text.empty()) return text;
    }
    return "";
  }
  if (want.is_object() && got.is_object()) {
    for (const auto& [key, value] : want.items()) {
      const bool absent = value == "$absent";
      if (absent && got.contains(key)) return path + "." + key + ": must be absent";
      if (absent) continue;
      if (!got.contains(key)) return path + "." + key + ": is missing in " + got.dump();
      auto text = difference(value, got[key], path + "." + key);
      if (!text.empty()) return text;
    }
    return "";
  }
  return want == got ? "" : unlike();
}

std::string events_difference(const Json& want, const std::vector<std::string>& chunks) {
  Json got = Json::array();
  for (const auto& chunk : chunks) {
    const size_t data = chunk.starts_with("event: ") ? chunk.find('\n') + 1 : 0;
    if (!chunk.substr(data).starts_with("data: ") || !chunk.ends_with("\n\n")) {
      return "bad framing: " + chunk;
    }
    const std::string text = chunk.substr(data + 6, chunk.size() - data - 8);
    got.push_back(text == "[DONE]" ? Json(text) : Json::parse(text));
    if (data > 0 && got.back()["type"] != chunk.substr(7, data - 8)) return "bad name: " + chunk;
  }
  Json rest = want;
  if (want[0] == "$more") {
    rest.erase(0);
    if (got.size() < rest.size()) return "too few events: " + got.dump();
    got.erase(got.begin(), got.end() - static_cast<int>(rest.size()));
  }
  return difference(rest, got, "events");
}

http::Request request_of(const Json& spec) {
  http::Request request{.method = spec["method"], .path = spec["path"]};
  request.body =
      spec.contains("raw_body") ? spec["raw_body"].get<std::string>() : spec["body"].dump();
  request.headers = {{"Content-Type", "application/json"}};
  if (spec.contains("headers")) {
    request.headers.clear();
    for (const auto& [name, value] : spec["headers"].items())
      request.headers.push_back({name, value});
  }
  return request;
}

std::string run_case(const Json& spec) {
  Rig rig;
  rig.run(request_of(spec["request"]));
  const Json& want = spec["expect"];
  const auto& answer = want.contains("events") ? rig.responder.stream_head : rig.responder.sent;
  if (!answer) return "no answer of the expected kind";
  if (answer->status != want["status"]) {
    return "status " + std::to_string(answer->status) + " " + answer->body;
  }
  if (want.contains("events")) return events_difference(want["events"], rig.responder.chunks);
  return want.contains("body") ? difference(want["body"], Json::parse(answer->body), "body") : "";
}

TEST(Generation, RequestAndResponseCases) {
  size_t count = 0;
  for (const auto& file : std::filesystem::directory_iterator(FATHOM_TEST_DATA "/api/cases")) {
    std::ifstream in(file.path());
    for (const auto& spec : Json::parse(in)) {
      if (spec.value("engine", false)) continue;
      ++count;
      EXPECT_EQ(run_case(spec), "") << file.path().filename() << ": " << spec["name"];
    }
  }
  EXPECT_GT(count, 150u);
}

TEST(Generation, StopStringEndsTextAndCountsItsTokens) {
  Rig rig;
  rig.post("/generate",
           {{"text", "x"}, {"sampling_params", {{"max_new_tokens", 20}, {"stop", "fg"}}}});
  const Json body = rig.body();
  EXPECT_EQ(body["text"], "abcde");
  EXPECT_EQ(body["meta_info"]["completion_tokens"], 7);
  EXPECT_EQ(body["meta_info"]["finish_reason"], Json({{"type", "stop"}, {"matched", "fg"}}));
}

TEST(Generation, StreamedTextNeverShowsAStopString) {
  Rig rig;
  rig.post("/v1/completions",
           {{"prompt", "x"}, {"max_tokens", 20}, {"stop", {"fgh", "zz"}}, {"stream", true}});
  std::string text;
  for (const auto& chunk : rig.responder.chunks) {
    if (chunk == "data: [DONE]\n\n") continue;
    text += Json::parse(chunk.substr(6))["choices"][0]["text"].get<std::string>();
    EXPECT_TRUE(std::string("abcde").starts_with(text)) << text;
  }
  EXPECT_EQ(text, "abcde");
  EXPECT_TRUE(rig.responder.ended);
}

TEST(Generation, EngineRefusalsArePlainErrorsAlsoForStreams) {
  Rig rig;
  rig.engine.refusal = Error{ErrorCode::kUnavailable, "The request queue is full."};
  rig.post("/v1/completions", {{"prompt", "x"}, {"stream", true}});
  EXPECT_FALSE(rig.responder.stream_head);
  EXPECT_EQ(rig.responder.sent->status, 503);
  EXPECT_EQ(rig.body()["type"], "503");
  EXPECT_EQ(rig.responder.sent->headers[0].first, "Retry-After");
}

TEST(Generation, FailureBeforeTheFirstTokenIsAPlainError) {
  Rig rig;
  rig.engine.fail_at = 0;
  rig.post("/generate", {{"text", "x"}, {"stream", true}});
  EXPECT_FALSE(rig.responder.stream_head);
  EXPECT_EQ(rig.responder.sent->status, 500);
}

TEST(Generation, FailureInAStreamIsAnEventThenDone) {
  Rig rig;
  rig.engine.fail_at = 2;
  rig.post("/v1/chat/completions",
           {{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"stream", true}});
  ASSERT_GE(rig.responder.chunks.size(), 3u);
  EXPECT_EQ(rig.responder.chunks.back(), "data: [DONE]\n\n");
  const auto error = Json::parse(rig.responder.chunks[rig.responder.chunks.size() - 2].substr(6));
  EXPECT_EQ(error["error"]["message"], "out of memory");
  EXPECT_EQ(error["error"]["type"], "INTERNAL_SERVER_ERROR");
}

TEST(Generation, FailureWithoutStreamIsAnError) {
  Rig rig;
  rig.engine.fail_at = 2;
  rig.post("/generate", {{"text", "x"}});
  EXPECT_EQ(rig.responder.sent->status, 500);
}

TEST(Generation, TemplateErrorsAre400) {
  Rig rig;
  rig.post("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "raise"}}}}});
  EXPECT_EQ(rig.responder.sent->status, 400);
  EXPECT_EQ(rig.body()["message"], "Conversation roles must alternate");
}

TEST(Generation, AClientThatLeavesEndsTheStream) {
  Rig rig;
  rig.responder.leave_after_chunks = 2;
  rig.post("/generate", {{"text", "x"}, {"stream", true}});
  EXPECT_EQ(rig.responder.chunks.size(), 2u);
  EXPECT_FALSE(rig.responder.ended);
}

TEST(Generation, AClientThatLeavesWhileWaitingEndsTheRequest) {
  Rig rig;
  rig.engine.silent = true;
  boost::asio::steady_timer later(rig.io, std::chrono::milliseconds(20));
  later.async_wait([&](boost::system::error_code) { rig.responder.leave(); });
  rig.post("/generate", {{"text", "x"}});  // returns: nothing waits any more
  EXPECT_FALSE(rig.responder.sent);
}

TEST(Generation, AnAbortMeansThoseToWhoseTokensNobodyHasComeYet) {
  struct Case {
    std::string rid;
    bool all;
    size_t submitted;
  };
  for (const auto& [rid, all, submitted] : {Case{"mine", false, 0}, Case{"mine_1", false, 1},
                                            Case{"other", false, 2}, Case{"", true, 0}}) {
    Rig rig;
    std::promise<void> go;
    rig.pool.post([wait = go.get_future().share()] { wait.wait(); });  // its only thread
    boost::asio::steady_timer later(rig.io, std::chrono::milliseconds(1));
    later.async_wait([&](boost::system::error_code) {
      rig.arrivals.abort(rid, all, [] {});
      go.set_value();
    });
    rig.arrivals.abort("", true, [] {});  // before it came
    rig.post(
        "/generate",
        {{"text", "x"}, {"rid", "mine"}, {"sampling_params", {{"n", 2}, {"max_new_tokens", 3}}}});
    EXPECT_EQ(rig.engine.requests.size(), submitted) << rid;
    ASSERT_EQ(rig.responder.sent->status, 200);
    const Json answers = rig.body();
    EXPECT_EQ(answers[0]["meta_info"]["finish_reason"]["type"], submitted > 0 ? "length" : "abort");
    EXPECT_EQ(answers[1]["meta_info"]["finish_reason"]["type"], submitted > 1 ? "length" : "abort");
  }
}

TEST(Generation, TextsThatAreOnlyTokenisedAreBounded) {
  const std::string big((4 << 20) + 1, 'a');
  const Json chat = {{"model", "m"}, {"messages", {{{"role", "user"}, {"content", big}}}}};
  for (const auto& [path, body] : {std::pair<std::string, Json>{"/tokenize", {{"prompt", big}}},
                                   {"/tokenize", {{"prompt", {big.substr(9), "aaaaaaaaa"}}}},
                                   {"/tokenize", chat},
                                   {"/v1/messages/count_tokens", chat}}) {
    Rig rig;
    rig.post(path, body);
    EXPECT_EQ(rig.responder.sent->status, 400) << path;
    EXPECT_NE(rig.responder.sent->body.find("at most 4194304 are made into tokens"),
              std::string::npos);
  }
}

TEST(Generation, NothingIsSubmittedWhenARequestIsRefused) {
  Rig rig;
  rig.post("/generate", {{"text", "x"}, {"sampling_params", {{"n", 1000000}}}});
  EXPECT_EQ(rig.responder.sent->status, 400);
  EXPECT_TRUE(rig.engine.requests.empty());
}

TEST(Generation, EachPromptCountsOnceWhateverItsSamples) {
  Rig rig;
  rig.post("/generate",
           {{"text", {"xx", "yyy"}}, {"sampling_params", {{"n", 3}, {"max_new_tokens", 4}}}});
  ASSERT_EQ(rig.responder.sent->status, 200);
  EXPECT_EQ(rig.counted("num_requests_total"), 2);
  EXPECT_EQ(rig.counted("time_to_first_token_seconds_count"), 2);
  EXPECT_EQ(rig.counted("e2e_request_latency_seconds_count"), 2);
  EXPECT_EQ(rig.counted("generation_tokens_total"), 2 * 3 * 4);
  EXPECT_EQ(rig.counted("generation_tokens_histogram_count"), 2);
  EXPECT_EQ(rig.counted("num_aborted_requests_total"), 0);
}

TEST(Generation, WhatEndsBeforeATokenCountsAsAbortedAlone) {
  Rig rig;
  rig.engine.fail_at = 0;
  rig.post("/generate", {{"text", "x"}});
  EXPECT_EQ(rig.counted("num_aborted_requests_total"), 1);
  for (const char* name :
       {"num_requests_total", "prompt_tokens_total", "e2e_request_latency_seconds_count",
        "queue_time_seconds_count", "prompt_tokens_histogram_count"}) {
    EXPECT_EQ(rig.counted(name), 0) << name;
  }
}

TEST(TextPool, WhatThrowsInTheBackgroundEndsNothing) {
  TextPool pool(1);
  std::atomic<bool> done = false;
  pool.post([] { throw std::runtime_error("full"); });
  pool.post([&done] {
    done = true;
    done.notify_all();
  });
  done.wait(false);
}

}  // namespace
}  // namespace fathom
