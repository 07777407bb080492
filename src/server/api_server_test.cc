#include "server/api_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "http/channel.h"
#include "http/testing/loopback_client.h"

namespace fathom {
namespace {

using namespace std::chrono_literals;
using http::header_field;
using http::LoopbackClient;
using testing::HasSubstr;
namespace asio = http::asio;

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

// What a test sees of, and tells to, a fake engine.
struct EngineScript {
  EngineStats stats;  // set before the server runs
  std::atomic<bool> flushes{true};
  std::atomic<bool> flush_waits{false};
  std::atomic<bool> answers_probes{true};
  std::atomic<int> probes{0};
  std::mutex mutex;
  std::vector<std::string> aborts;
};

class FakeEngine final : public EngineControl {
 public:
  explicit FakeEngine(EngineScript& script) : script_(script) {}
  EngineStats stats() const override { return script_.stats; }
  void abort_prefix(std::string rid) override { note("prefix " + rid); }
  void abort_all() override { note("all"); }
  asio::awaitable<bool> flush_cache(asio::any_io_executor executor, double seconds) override {
    note(fmt::format("flush {}", seconds));
    asio::steady_timer pause(executor);
    while (seconds > 0 && script_.flush_waits) {
      pause.expires_after(5ms);
      co_await pause.async_wait(asio::use_awaitable);
    }
    co_return script_.flushes.load();
  }
  void pause(PauseMode mode) override { note(fmt::format("pause {}", static_cast<int>(mode))); }
  void resume() override { note("resume"); }
  void tune(const EngineTuning& tuning) override {
    note(fmt::format("tune {} {}", tuning.max_running.value_or(-1),
                     tuning.sleep_per_step.value_or(-1)));
  }
  void start_profile(ProfileRequest request) override { profile_ = std::move(request); }
  void stop_profile() override {
    profile_.done({{.phase = "forward", .start = 1, .seconds = 0.5, .step = 7, .prompt_rows = 3}});
  }
  void start_expert_record() override { note("start experts"); }
  void stop_expert_record() override { note("stop experts"); }
  ExpertCounts expert_counts() override { return {2, {0, 0, 5, 7}}; }
  Status update_weights(WeightUpdate update) override {
    note("update " + update.files->location());
    return {};
  }
  asio::awaitable<bool> probe(asio::any_io_executor, double) override {
    ++script_.probes;
    co_return script_.answers_probes.load();
  }

 private:
  void note(std::string what) {
    std::lock_guard lock(script_.mutex);
    script_.aborts.push_back(std::move(what));
  }
  EngineScript& script_;
  ProfileRequest profile_;
};

class ApiServerTest : public testing::Test {
 protected:
  void listen(ApiServerOptions options = {}) {
    options.http.port = 0;
    options.metrics.model_name = "org/model";
    options.access_log = false;
    options.routes.enable_metrics = true;
    options.routes.server_args = {
        {"model_path", "org/model"}, {"tp_size", 1}, {"reasoning_parser", "auto"}};
    auto server = ApiServer::listen(std::move(options));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
  }
  void serve(ApiServerOptions options = {}) {
    listen(std::move(options));
    load();
    server_->state().enter(Phase::kServing);
  }
  void load() {
    LoadedModel model;
    model.facts.model_path = "org/model";
    model.facts.tokenizer_path = "org/tokenizer";
    model.facts.served_name = "org/model";
    model.facts.model_type = "deepseek_v3";
    model.facts.architecture = "DeepseekV3ForCausalLM";
    model.facts.context_length = 4096;
    model.facts.pool_tokens = 1000;
    model.facts.max_running = 10;
    model.facts.chunked_prefill_size = 4096;
    model.facts.mem_fraction = 0.8;
    model.facts.reasoning_parser = "deepseek-r1";
    model.engine = std::make_unique<FakeEngine>(script_);
    model.routes = {.completions = named("completions"),
                    .chat_completions = named("chat"),
                    .messages = named("messages"),
                    .count_tokens = named("count_tokens"),
                    .responses = named("responses"),
                    .embeddings = named("embeddings"),
                    .encode = named("encode"),
                    .score = named("score"),
                    .tokenize = named("tokenize"),
                    .detokenize = named("detokenize"),
                    .tokenizer_info = named("tokenizer_info")};
    model.routes.generate = [this](const http::Request& request, http::Responder& responder) {
      return generate(request, responder);
    };
    server_->attach(std::move(model));
  }
  static http::Handler named(std::string name) {
    return [name](const http::Request&, http::Responder& responder) {
      http::Response response;
      response.body = name;
      return responder.send(std::move(response));
    };
  }
  // "wait": answers when released, or gives up when the client leaves. "throw": fails.
  asio::awaitable<void> generate(const http::Request& request, http::Responder& responder) {
    if (request.body == "throw") throw std::runtime_error("broken");
    if (request.body == "wait") {
      auto channel = std::make_shared<http::Channel<int>>(responder.executor());
      responder.on_disconnect([channel] { channel->close(); });
      {
        std::lock_guard lock(mutex_);
        waiting_.push_back(channel);
      }
      co_await channel->pop();
    }
    http::Response response;
    response.body = "generated";
    co_await responder.send(std::move(response));
  }
  size_t waiting() {
    std::lock_guard lock(mutex_);
    return waiting_.size();
  }
  void release() {
    std::lock_guard lock(mutex_);
    for (auto& channel : waiting_) channel->push(1);
  }

  LoopbackClient connect() { return LoopbackClient(server_->port()); }
  LoopbackClient::Reply ask(std::string_view method, std::string_view target,
                            std::string_view fields = "", std::string_view body = "") {
    return connect().ask(message(method, target, fields, body));
  }
  static std::string message(std::string_view method, std::string_view target,
                             std::string_view fields = "", std::string_view body = "") {
    return fmt::format("{} {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{}\r\n{}", method,
                       target, body.size(), fields, body);
  }
  std::vector<std::string> noted() {
    std::lock_guard lock(script_.mutex);
    return script_.aborts;
  }

  EngineScript script_;
  std::mutex mutex_;
  std::unique_ptr<ApiServer> server_;
  std::vector<std::shared_ptr<http::Channel<int>>> waiting_;  // their timers live in the server
};

TEST_F(ApiServerTest, BeforeTheModelIsLoadedEverythingIs503) {
  listen();
  for (const char* path : {"/health", "/health_generate", "/ready", "/ping"}) {
    const auto reply = ask("GET", path);
    EXPECT_EQ(reply.status, 503) << path;
    EXPECT_EQ(reply.body, "") << path;
    EXPECT_EQ(header_field(reply.head, "retry-after"), "1") << path;
  }
  EXPECT_EQ(ask("GET", "/v1/models").status, 503);
  const auto reply = ask("POST", "/v1/chat/completions", "", "{}");
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(reply.body, HasSubstr("the model is being loaded"));
  EXPECT_EQ(OrderedJson::parse(reply.body)["type"], "503");
  EXPECT_EQ(ask("GET", "/metrics").status, 200);
  EXPECT_EQ(ask("GET", "/").body, "\"SGLang is running\"");
  load();
  EXPECT_EQ(ask("GET", "/health").status, 503) << "until warmed up";
  EXPECT_EQ(ask("POST", "/generate", "", "{}").body, "generated");
  server_->state().enter(Phase::kServing);
  EXPECT_EQ(ask("GET", "/health").status, 200);
}

TEST_F(ApiServerTest, RoutesReachTheirHandlers) {
  serve();
  EXPECT_EQ(ask("POST", "/generate").body, "generated");
  EXPECT_EQ(ask("PUT", "/generate").body, "generated");
  EXPECT_EQ(ask("POST", "/v1/completions").body, "completions");
  EXPECT_EQ(ask("POST", "/v1/chat/completions").body, "chat");
  EXPECT_EQ(ask("POST", "/v1/chat/completions/").body, "chat");
  EXPECT_EQ(ask("POST", "/v1/chat/completions?x=1").body, "chat");
  EXPECT_EQ(ask("POST", "/tokenize").body, "tokenize");
  EXPECT_EQ(ask("POST", "/v1/detokenize").body, "detokenize");
  EXPECT_EQ(ask("POST", "/v1/messages?beta=true").body, "messages");
  EXPECT_EQ(ask("POST", "/v1/messages/count_tokens").body, "count_tokens");
  for (const char* name : {"responses", "embeddings", "score"}) {
    EXPECT_EQ(ask("POST", std::string("/v1/") + name).body, name);
  }
  EXPECT_EQ(ask("POST", "/encode").body, "encode");
  EXPECT_EQ(ask("GET", "/tokenizer_info").body, "tokenizer_info");
}

TEST_F(ApiServerTest, TheDocumentNamesEveryRoute) {
  serve();
  const auto paths = OrderedJson::parse(ask("GET", "/openapi.json").body)["paths"];
  EXPECT_TRUE(paths["/v1/models/{id}"].contains("get"));
  EXPECT_TRUE(paths["/v1/messages"]["post"].contains("requestBody"));
  for (const auto& [path, methods] : paths.items()) {
    if (path.find('{') != std::string::npos) continue;
    EXPECT_NE(ask("DELETE", path).status, 404) << path;
  }
}

TEST_F(ApiServerTest, AdministratorsReachTheEngine) {
  serve();
  EXPECT_EQ(ask("POST", "/pause_generation", "", R"({"mode":"retract"})").status, 200);
  EXPECT_EQ(ask("GET", "/ready").status, 503);
  EXPECT_EQ(ask("GET", "/ping").status, 200);
  EXPECT_EQ(ask("GET", "/health").status, 200);
  EXPECT_EQ(script_.probes, 0) << "a paused engine is not probed";
  EXPECT_EQ(ask("POST", "/continue_generation").status, 200);
  EXPECT_EQ(ask("POST", "/slow_down", "", R"({"forward_sleep_time":0.5})").status, 200);
  EXPECT_EQ(ask("POST", "/set_internal_state", "", R"({"server_args":{"max_running_requests":3}})")
                .status,
            200);
  EXPECT_EQ(ask("POST", "/set_internal_state", "", R"({"server_args":{"max_running_requests":11}})")
                .status,
            400);
  EXPECT_EQ(
      ask("POST", "/set_internal_state", "", R"({"server_args":{"schedule_policy":null}})").status,
      200);
  EXPECT_FALSE(OrderedJson::parse(ask("GET", "/server_info").body).contains("schedule_policy"))
      << "null changes nothing";
  EXPECT_EQ(ask("POST", "/set_internal_state", "", R"({"server_args":[]})").status, 400);
  EXPECT_EQ(OrderedJson::parse(ask("GET", "/server_info").body)["max_running_requests"], 3);
  EXPECT_THAT(noted(),
              testing::ElementsAre("pause 1", "resume", "tune -1 0.5", "tune 3 -1", "tune -1 -1"));
  for (const char* path :
       {"/pause_generation", "/slow_down", "/set_internal_state", "/configure_logging",
        "/start_profile", "/update_weights_from_disk", "/get_weights_by_name"}) {
    for (const char* body : {"[]", "{", "\"x\"",
                             "{\"mode\":5,\"forward_sleep_time\":\"x\",\"log_level\":1,"
                             "\"num_steps\":0,\"model_path\":1,\"name\":[]}"}) {
      EXPECT_EQ(ask("POST", path, "", body).status, 400) << path << " " << body;
    }
  }
}

TEST_F(ApiServerTest, UnknownPathsAndMethods) {
  serve();
  auto reply = ask("GET", "/nothing/here");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, R"({"detail":"Not Found"})");
  EXPECT_EQ(ask("GET", "/v1/models/").body, ask("GET", "/v1/models").body);
  reply = ask("GET", "/generate");
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.body, R"({"error":{"message":"Method Not Allowed"}})");
  EXPECT_EQ(header_field(reply.head, "allow"), "POST, PUT");
  EXPECT_EQ(ask("DELETE", "/health").body, R"({"detail":"Method Not Allowed"})");
  reply = ask("GET", "/v1/completions");
  EXPECT_EQ(OrderedJson::parse(reply.body)["object"], "error");
  EXPECT_EQ(OrderedJson::parse(reply.body)["code"], 405);
  auto client = connect();
  client.send(message("HEAD", "/"));
  EXPECT_EQ(client.receive(true).status, 200);
}

TEST_F(ApiServerTest, KeysGuardRoutes) {
  ApiServerOptions options;
  options.api_key = "K";
  options.admin_key = "A";
  serve(std::move(options));
  const std::string key = "Authorization: Bearer K\r\n";
  const auto denied = ask("POST", "/generate");
  EXPECT_EQ(denied.status, 401);
  EXPECT_EQ(denied.body, R"({"error":"Unauthorized"})");
  EXPECT_EQ(ask("POST", "/generate", key).status, 200);
  EXPECT_EQ(ask("GET", "/v1/models").status, 401);
  EXPECT_EQ(ask("GET", "/unknown").status, 401) << "paths are not for strangers to explore";
  for (const char* path : {"/health", "/ready", "/ping", "/metrics"}) {
    EXPECT_EQ(ask("GET", path).status, 200) << path;
  }
  EXPECT_EQ(ask("POST", "/flush_cache", key).status, 401);
  EXPECT_EQ(ask("POST", "/flush_cache", "x-api-key: A\r\n").status, 200);
  EXPECT_EQ(
      ask("OPTIONS", "/generate", "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n")
          .status,
      200);
}

TEST_F(ApiServerTest, ARequestIdComesBack) {
  serve();
  for (const char* path : {"/v1/models", "/nowhere"}) {
    EXPECT_EQ(header_field(ask("GET", path, "x-request-id: a-1\r\n").head, "x-request-id"), "a-1");
    EXPECT_EQ(header_field(ask("GET", path).head, "x-request-id"), "");
  }
}

TEST_F(ApiServerTest, CrossOriginHeaders) {
  serve();
  const auto head = [&](std::string_view fields) { return ask("POST", "/generate", fields).head; };
  EXPECT_EQ(header_field(head(""), "access-control-allow-origin"), "");
  EXPECT_EQ(header_field(head("Origin: http://a\r\n"), "access-control-allow-origin"), "*");
  const std::string with_cookie = head("Origin: http://a\r\nCookie: b=c\r\n");
  EXPECT_EQ(header_field(with_cookie, "access-control-allow-origin"), "http://a");
  EXPECT_EQ(header_field(with_cookie, "vary"), "Origin");
  const auto preflight = ask("OPTIONS", "/generate",
                             "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n"
                             "Access-Control-Request-Headers: x-one, x-two\r\n");
  EXPECT_EQ(preflight.status, 200);
  EXPECT_EQ(header_field(preflight.head, "access-control-allow-headers"), "x-one, x-two");
  EXPECT_EQ(header_field(preflight.head, "access-control-max-age"), "600");
  EXPECT_EQ(header_field(preflight.head, "access-control-allow-origin"), "*");
  EXPECT_EQ(ask("OPTIONS", "/generate").status, 405);
}

TEST_F(ApiServerTest, HealthProbesOnlyAnIdleEngine) {
  script_.stats.steps = 5;
  script_.stats.last_step_seconds_ago = 0.1;
  serve();
  EXPECT_EQ(ask("GET", "/health").status, 200);
  EXPECT_EQ(script_.probes, 0);
  EXPECT_EQ(ask("GET", "/health_generate").status, 200);
  EXPECT_EQ(script_.probes, 1);
  script_.answers_probes = false;
  EXPECT_EQ(ask("GET", "/health_generate").status, 503);
  EXPECT_EQ(ask("GET", "/health").status, 200);
}

TEST_F(ApiServerTest, HealthOfAnIdleEngineIsItsProbe) {
  script_.stats.last_step_seconds_ago = 100;
  serve();
  EXPECT_EQ(ask("GET", "/health").status, 200);
  script_.answers_probes = false;
  EXPECT_EQ(ask("GET", "/health").status, 503);
  EXPECT_EQ(script_.probes, 2);
}

TEST_F(ApiServerTest, FlushCache) {
  serve();
  const auto flushed = ask("POST", "/flush_cache?timeout=1.5");
  EXPECT_EQ(flushed.status, 200);
  EXPECT_THAT(flushed.body, HasSubstr("Cache flushed.\nPlease check"));
  EXPECT_EQ(ask("GET", "/flush_cache").status, 200);
  EXPECT_EQ(ask("POST", "/reset_prefix_cache").status, 200);
  for (const char* bad : {"-1", "x", "1x", "nan", "inf", "1e999"}) {
    const auto reply = ask("POST", std::string("/flush_cache?timeout=") + bad);
    EXPECT_EQ(reply.status, 400) << bad;
    EXPECT_THAT(reply.body, HasSubstr(R"({"error":{"message":"timeout must be)")) << bad;
  }
  script_.flushes = false;
  EXPECT_EQ(ask("POST", "/flush_cache").status, 400);
  EXPECT_THAT(noted(), testing::ElementsAre("flush 1.5", "flush 0", "flush 0", "flush 0"));
}

TEST_F(ApiServerTest, NothingElseWaitsForAFlush) {
  script_.flush_waits = true;
  serve();
  std::thread flush([&] { EXPECT_EQ(ask("POST", "/flush_cache?timeout=60").status, 200); });
  EXPECT_TRUE(eventually([&] { return !noted().empty(); }));
  const auto reply = ask("POST", "/separate_reasoning", "Content-Type: application/json\r\n",
                         R"({"text":"a</think>b","reasoning_parser":"deepseek-r1"})");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(ask("POST", "/flush_cache").status, 200) << "which does not wait";
  EXPECT_EQ(ask("POST", "/get_weights_by_name").status, 400);
  EXPECT_TRUE(script_.flush_waits);
  script_.flush_waits = false;
  flush.join();
}

TEST_F(ApiServerTest, AbortRequest) {
  serve();
  const auto abort = [&](std::string_view body) { return ask("POST", "/abort_request", "", body); };
  EXPECT_EQ(abort(R"({"rid":"a","extra":1})").status, 200);
  EXPECT_EQ(abort(R"({"rid":"a"})").body, "");
  EXPECT_EQ(abort(R"({"rid":"","abort_all":true})").status, 200);
  EXPECT_EQ(abort(R"({"rid":""})").status, 200);
  EXPECT_EQ(abort("{}").status, 200);
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_EQ(abort(R"({"a":)" + deep + R"(,"b":1,"c":2,"d":3})").status, 400);
  for (const std::string& bad :
       {std::string("{"), std::string("[]"), std::string(R"({"rid":1})"),
        std::string(R"({"abort_all":"yes"})"), std::string(), std::string(200'000, '[')}) {
    EXPECT_EQ(abort(bad).status, 400) << bad.substr(0, 20);
  }
  EXPECT_THAT(noted(), testing::ElementsAre("prefix a", "prefix a", "all"));
}

TEST_F(ApiServerTest, InformationRoutes) {
  script_.stats.running = 2;
  script_.stats.queued = 3;
  script_.stats.used_tokens = 77;
  script_.stats.gen_throughput = 12.5;
  serve();
  const auto models = OrderedJson::parse(ask("GET", "/v1/models").body);
  EXPECT_EQ(models["data"][0]["id"], "org/model");
  EXPECT_EQ(models["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(ask("GET", "/v1/models/org/model").status, 200);
  EXPECT_EQ(ask("GET", "/v1/models/org%2Fmodel").status, 200);
  const auto missing = ask("GET", "/v1/models/other");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(OrderedJson::parse(missing.body)["error"]["code"], "model_not_found");

  for (const char* path : {"/get_model_info", "/model_info"}) {
    const auto info = OrderedJson::parse(ask("GET", path).body);
    EXPECT_EQ(info["model_path"], "org/model");
    EXPECT_EQ(info["tokenizer_path"], "org/tokenizer");
    EXPECT_EQ(info["is_generation"], true);
    EXPECT_EQ(info["reasoning_parser"], "deepseek-r1") << "what auto became";
    EXPECT_TRUE(info["tool_call_parser"].is_null());
    EXPECT_EQ(info["architectures"][0], "DeepseekV3ForCausalLM");
  }
  for (const char* path : {"/get_server_info", "/server_info"}) {
    const auto info = OrderedJson::parse(ask("GET", path).body);
    EXPECT_EQ(info["tp_size"], 1);
    EXPECT_EQ(info["port"], server_->port()) << "what 0 became";
    EXPECT_EQ(info["status"], "ready");
    EXPECT_EQ(info["reasoning_parser"], "deepseek-r1");
    EXPECT_EQ(info["chunked_prefill_size"], 4096);
    EXPECT_EQ(info["mem_fraction_static"], 0.8);
    EXPECT_EQ(info["max_total_num_tokens"], 1000);
    EXPECT_EQ(info["last_gen_throughput"], 12.5);
    const auto& state = info["internal_states"][0];
    EXPECT_EQ(state["last_gen_throughput"], 12.5);
    EXPECT_EQ(state["max_running_requests"], 10);
    EXPECT_EQ(state["effective_max_running_requests_per_dp"], 10);
    EXPECT_FALSE(state.contains("avg_spec_accept_length")) << "clients take it for speculation";
  }
  const auto load = OrderedJson::parse(ask("GET", "/get_load").body);
  EXPECT_EQ(load[0]["num_reqs"], 5);
  EXPECT_EQ(load[0]["num_waiting_reqs"], 3);
  const auto loads = OrderedJson::parse(ask("GET", "/v1/loads?include=core,memory").body);
  EXPECT_EQ(loads["loads"][0]["num_running_reqs"], 2);
  EXPECT_TRUE(loads["loads"][0].contains("memory"));
  EXPECT_EQ(ask("GET", "/v1/loads?include=core,nonsense").status, 400);
}

TEST_F(ApiServerTest, MetricsFollowRequestsAndTheEngine) {
  script_.stats.running = 4;
  script_.stats.retractions = 2;
  serve();
  ask("POST", "/generate");
  ask("POST", "/nowhere");
  ask("BREW", "/elsewhere");
  connect().ask("nonsense\r\n\r\n");
  const auto reply = ask("GET", "/metrics");
  EXPECT_THAT(header_field(reply.head, "content-type"), HasSubstr("text/plain; version=0.0.4"));
  for (
      const char* line : {
          R"(sglang:num_running_reqs{engine_type="unified",model_name="org/model",moe_ep_rank="0",pp_rank="0",tp_rank="0"} 4)",
          R"(sglang:num_retracted_requests_total{engine_type="unified",model_name="org/model",moe_ep_rank="0",pp_rank="0",tp_rank="0"} 2)",
          R"(sglang:http_requests_total{endpoint="/generate",method="POST"} 1)",
          R"(sglang:http_responses_total{endpoint="/generate",method="POST",status_code="200"} 1)",
          R"(sglang:http_requests_active{endpoint="/metrics",method="GET"} 1)",
          R"(sglang:http_responses_total{endpoint="other",method="POST",status_code="404"} 1)",
          R"(sglang:http_responses_total{endpoint="other",method="other",status_code="404"} 1)",
          R"(sglang:http_responses_total{endpoint="other",method="other",status_code="400"} 1)",
          R"(sglang:max_total_num_tokens)",
      }) {
    EXPECT_NE(reply.body.find(line), std::string::npos) << line;
  }
}

TEST_F(ApiServerTest, MetricsAreAbsentUnlessAskedFor) {
  ApiServerOptions options;
  options.http.port = 0;
  options.access_log = false;
  auto server = ApiServer::listen(std::move(options));
  ASSERT_TRUE(server.has_value());
  LoopbackClient client((*server)->port());
  EXPECT_EQ(client.ask(message("GET", "/metrics")).status, 404);
}

TEST_F(ApiServerTest, FailuresAreErrorsInTheRoutesShape) {
  ApiServerOptions options;
  options.http.max_body_bytes = 1000;
  serve(std::move(options));
  const auto broken = ask("POST", "/generate", "", "throw");
  EXPECT_EQ(broken.status, 500);
  EXPECT_EQ(broken.body, R"({"error":{"message":"Internal server error: broken"}})");
  const auto large = ask("POST", "/v1/completions", "", std::string(1001, 'x'));
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(OrderedJson::parse(large.body)["code"], 413);
  EXPECT_EQ(
      OrderedJson::parse(ask("POST", "/generate", "", std::string(1001, 'x')).body)["error"].size(),
      1u);
}

TEST_F(ApiServerTest, UnsupportedRoutesSaySo) {
  serve();
  EXPECT_EQ(OrderedJson::parse(ask("POST", "/update_weights_from_tensor").body)["success"], false);
  EXPECT_EQ(ask("POST", "/load_lora_adapter").status, 400);
}

TEST_F(ApiServerTest, RootPathIsStripped) {
  ApiServerOptions options;
  options.root_path = "/llm/";
  serve(std::move(options));
  EXPECT_EQ(ask("POST", "/llm/generate").body, "generated");
  EXPECT_EQ(ask("POST", "/generate").body, "generated");
  EXPECT_EQ(ask("GET", "/llm/v1/models/org/model").status, 200);
  EXPECT_EQ(ask("GET", "/llmx/health").status, 404);
}

TEST_F(ApiServerTest, DrainingLetsRunningRequestsFinish) {
  serve();
  auto client = connect();
  client.send(message("POST", "/generate", "", "wait"));
  ASSERT_TRUE(eventually([&] { return waiting() == 1; }));
  std::atomic<bool> drained{false};
  std::thread draining([&] { drained = server_->drain(60); });
  ASSERT_TRUE(eventually([&] { return server_->state().phase() == Phase::kStopping; }));
  EXPECT_EQ(ask("GET", "/health").status, 503);
  EXPECT_EQ(ask("GET", "/ready").status, 503);
  const auto refused = ask("POST", "/generate");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(header_field(refused.head, "connection"), "close");
  EXPECT_EQ(header_field(refused.head, "retry-after"), "1");
  EXPECT_EQ(ask("GET", "/v1/models").status, 200);
  EXPECT_FALSE(drained);
  release();
  EXPECT_EQ(client.receive().body, "generated");
  draining.join();
  EXPECT_TRUE(drained);
}

TEST_F(ApiServerTest, DrainingEndsWithItsTimeOrWhenClientsLeave) {
  serve();
  auto client = connect();
  client.send(message("POST", "/generate", "", "wait"));
  ASSERT_TRUE(eventually([&] { return waiting() == 1; }));
  EXPECT_FALSE(server_->drain(0.05));
  client.close();
  EXPECT_TRUE(server_->drain(60));
}

}  // namespace
}  // namespace fathom
