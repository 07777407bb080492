#include "server/generation/generation.h"

#include <atomic>
#include <charconv>
#include <utility>

#include "api/anthropic.h"
#include "api/chat.h"
#include "api/completions.h"
#include "api/embeddings.h"
#include "api/native.h"
#include "api/responses.h"
#include "api/score.h"
#include "api/tokens.h"
#include "api/vertex.h"
#include "server/generation/flow.h"

namespace fathom {
namespace {

using api::Failure;
using api::Parsed;
using boost::asio::awaitable;

// A request that is ready to be submitted.
struct Ready {
  api::Prepared prepared;
  std::unique_ptr<api::Format> format;
  bool stream = false;
  int64_t stream_interval = 1;
  int64_t samples = 1;
};

Parsed<Ready> make_ready(const api::Job& job, std::unique_ptr<api::Format> format,
                         const GenerationHandlers::Parts& parts) {
  Ready ready{.prepared = TRY(api::prepare(job, parts.tokenizer, parts.settings)),
              .format = std::move(format),
              .stream = job.stream,
              .stream_interval = job.stream_interval,
              .samples = job.samples};
  return ready;
}

std::expected<void, Failure> check_json_type(const http::Request& request) {
  std::string_view type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  if (http::equals_ignoring_case(type, "application/json")) return {};
  return std::unexpected(
      Failure(400, "Unsupported Media Type: Only 'application/json' is allowed", true));
}

std::expected<void, Failure> check_rank(const http::Request& request) {
  const std::string_view text = request.header("x-data-parallel-rank");
  if (text.empty()) return {};
  int64_t rank = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rank);
  if (error != std::errc() || end != text.data() + text.size()) {
    return api::refuse("Invalid X-Data-Parallel-Rank header: must be an integer, got '{}'.", text);
  }
  if (rank != 0) return api::refuse("X-Data-Parallel-Rank must be in [0, 0], got {}.", rank);
  return {};
}

awaitable<void> send_failure(http::Responder& responder, const Failure& failure, api::Shape shape) {
  http::Response response;
  response.status = failure.status;
  response.body = api::error_body(failure, shape);
  if (failure.status == 503) response.headers.emplace_back("Retry-After", "1");
  co_await responder.send(std::move(response));
}

using Fate = Metrics::GrammarFate;

// On the grammar pool.
Result<std::shared_ptr<const Grammar>> compile_grammar(const GenerationHandlers::Parts& parts,
                                                       const GrammarSpec& spec, bool gone) {
  const auto start = Flow::Clock::now();
  Result<std::shared_ptr<const Grammar>> compiled =
      fail(ErrorCode::kUnavailable, "The client is gone.");
  if (!gone) compiled = parts.grammars->compile(spec);
  const double seconds = std::chrono::duration<double>(Flow::Clock::now() - start).count();
  if (parts.metrics) {
    const bool late = seconds >= parts.grammars->most_seconds();
    parts.metrics->grammar(compiled ? Fate::kCompiled : late ? Fate::kTimedOut : Fate::kRefused,
                           seconds);
    parts.metrics->grammar_waiting(-1);
  }
  return compiled;
}

// Compiles what has not been compiled before; a client that leaves meanwhile has nothing compiled.
awaitable<std::expected<void, Failure>> compile_grammars(const GenerationHandlers::Parts& parts,
                                                         http::Responder& responder,
                                                         std::vector<GenerateRequest>& requests) {
  auto gone = std::make_shared<std::atomic<bool>>(false);
  bool counted = false;
  for (GenerateRequest& request : requests) {
    if (!request.sampling.grammar) continue;
    if (parts.metrics && !std::exchange(counted, true)) parts.metrics->structured_request();
    GrammarSpec& spec = *request.sampling.grammar;
    if (!parts.grammars) co_return api::refuse("Grammars are not served without a tokenizer.");
    request.grammar = parts.grammars->find(spec);
    if (request.grammar) {
      if (parts.metrics) parts.metrics->grammar(Fate::kFound, 0);
    } else {
      responder.on_disconnect([gone] { *gone = true; });
      // From 32 KiB on grammars can take seconds; small ones do not wait for them.
      const size_t weight = 8 * spec.text.size();
      if (parts.metrics) parts.metrics->grammar_waiting(1);
      auto compiled = co_await parts.grammar_pool->run(
          weight, [&] { return compile_grammar(parts, spec, *gone); });
      if (!compiled) co_return std::unexpected(Failure(compiled.error()));
      request.grammar = std::move(*compiled);
    }
    std::string().swap(spec.text);
  }
  co_return std::expected<void, Failure>();
}

// Parts::submit for `requests` requests that began with `ticket`, which ends with the last of them.
// Those that were aborted meanwhile end at once, as if they had waited in the engine.
GenerationHandlers::Submit submit_unless_aborted(const GenerationHandlers::Parts& parts,
                                                 std::shared_ptr<Arrivals::Ticket> ticket,
                                                 size_t requests) {
  if (!ticket) return parts.submit;
  return [&parts, ticket = std::move(ticket), left = requests](
             GenerateRequest request, OnTokens on_tokens) mutable -> Result<TokenStream> {
    const auto now = --left == 0 ? std::exchange(ticket, nullptr) : ticket;
    TokenEvent aborted;
    aborted.prompt_tokens = static_cast<int32_t>(request.input_ids.size());
    aborted.finish = FinishReason::aborted(false, request.embed);
    const std::string rid = request.rid;
    auto stream = now->unless_aborted(
        rid, [&] { return parts.submit(std::move(request), std::move(on_tokens)); });
    if (stream) return std::move(*stream);
    on_tokens(std::move(aborted));
    return TokenStream();
  };
}

// `read` turns the body into a Ready on the text pool.
template <class Read>
awaitable<void> run_flow(const GenerationHandlers::Parts& parts, const http::Request& request,
                         http::Responder& responder, api::Shape shape, Read read) {
  const auto start = Flow::Clock::now();
  auto ticket = parts.arrivals ? std::make_shared<Arrivals::Ticket>(*parts.arrivals) : nullptr;
  auto ready = co_await parts.pool->run(request.body.size(), [&]() -> Parsed<Ready> {
    TRY(check_rank(request));
    return read(start);
  });
  if (!ready) co_return co_await send_failure(responder, ready.error(), shape);
  const auto compiled = co_await compile_grammars(parts, responder, ready->prepared.requests);
  if (!compiled) co_return co_await send_failure(responder, compiled.error(), shape);
  const auto submit =
      submit_unless_aborted(parts, std::move(ticket), ready->prepared.requests.size());
  Flow flow(submit, *parts.pool, parts.metrics, parts.on_finished, responder,
            std::move(ready->prepared), std::move(ready->format),
            {.stream = ready->stream,
             .stream_interval = ready->stream_interval,
             .samples = ready->samples,
             .start = start,
             .path = request.path,
             .trace_parent = std::string(request.header("traceparent"))});
  co_await flow.run();
}

awaitable<void> send_body(http::Responder& responder, Parsed<std::string> body,
                          api::Shape shape = api::Shape::kOpenAi) {
  if (!body) co_return co_await send_failure(responder, body.error(), shape);
  http::Response response;
  response.body = std::move(*body);
  co_await responder.send(std::move(response));
}

std::expected<void, Failure> render_prompt(api::ChatRequest& chat,
                                           const GenerationHandlers::Parts& parts) {
  return api::complete_chat(chat, parts.settings, parts.chat_template.get(), *parts.tokenizer);
}

}  // namespace

awaitable<void> GenerationHandlers::generate(const http::Request& request,
                                             http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kNative,
                    [&](Flow::Clock::time_point start) -> Parsed<Ready> {
                      const auto parsed = TRY(api::parse_generate(request.body, parts_.settings));
                      return make_ready(
                          parsed.job,
                          api::native_format(parsed, parts_.settings, parts_.tokenizer, start),
                          parts_);
                    });
}

awaitable<void> GenerationHandlers::completions(const http::Request& request,
                                                http::Responder& responder) {
  co_await run_flow(
      parts_, request, responder, api::Shape::kOpenAi,
      [&](Flow::Clock::time_point) -> Parsed<Ready> {
        TRY(check_json_type(request));
        const auto parsed = TRY(api::parse_completion(request.body, parts_.settings));
        return make_ready(
            parsed.job, api::completion_format(parsed, parts_.settings, parts_.tokenizer), parts_);
      });
}

awaitable<void> GenerationHandlers::chat_completions(const http::Request& request,
                                                     http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kOpenAi,
                    [&](Flow::Clock::time_point) -> Parsed<Ready> {
                      TRY(check_json_type(request));
                      auto parsed = TRY(api::parse_chat(request.body, parts_.settings));
                      TRY(render_prompt(parsed, parts_));
                      return make_ready(parsed.job,
                                        api::chat_format(parsed, parts_.settings, parts_.tokenizer),
                                        parts_);
                    });
}

awaitable<void> GenerationHandlers::vertex_generate(const http::Request& request,
                                                    http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kNative,
                    [&](Flow::Clock::time_point start) -> Parsed<Ready> {
                      const auto parsed = TRY(api::parse_vertex(request.body, parts_.settings));
                      auto native =
                          api::native_format(parsed, parts_.settings, parts_.tokenizer, start);
                      return make_ready(parsed.job, api::vertex_format(std::move(native)), parts_);
                    });
}

awaitable<void> GenerationHandlers::messages(const http::Request& request,
                                             http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kAnthropic,
                    [&](Flow::Clock::time_point) -> Parsed<Ready> {
                      TRY(check_json_type(request));
                      auto chat = TRY(api::parse_messages(request.body, parts_.settings,
                                                          api::MessagesUse::kGenerate));
                      TRY(render_prompt(chat, parts_));
                      TRY(api::check_thinking(chat));
                      return make_ready(chat.job, api::messages_format(chat), parts_);
                    });
}

awaitable<void> GenerationHandlers::count_tokens(const http::Request& request,
                                                 http::Responder& responder) {
  auto body = co_await parts_.pool->run(request.body.size(), [&]() -> Parsed<std::string> {
    TRY(check_json_type(request));
    auto chat = TRY(api::parse_messages(request.body, parts_.settings, api::MessagesUse::kCount));
    TRY(render_prompt(chat, parts_));
    const std::string& text = chat.job.prompts[0].text;
    TRY(api::check_text_bytes(text.size(), parts_.settings));
    const auto ids = TRY(parts_.tokenizer->encode(text, false));
    return api::token_count_answer(ids.size());
  });
  co_await send_body(responder, std::move(body), api::Shape::kAnthropic);
}

awaitable<void> GenerationHandlers::responses(const http::Request& request,
                                              http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kNested,
                    [&](Flow::Clock::time_point) -> Parsed<Ready> {
                      TRY(check_json_type(request));
                      auto parsed = TRY(api::parse_responses(request.body, parts_.settings));
                      TRY(render_prompt(parsed.chat, parts_));
                      return make_ready(parsed.chat.job,
                                        api::responses_format(parsed, parts_.tokenizer), parts_);
                    });
}

awaitable<void> GenerationHandlers::embeddings(const http::Request& request,
                                               http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kOpenAi,
                    [&](Flow::Clock::time_point) -> Parsed<Ready> {
                      TRY(check_json_type(request));
                      auto parsed = TRY(api::parse_embeddings(request.body, parts_.settings));
                      return make_ready(parsed.job, api::embedding_format(parsed), parts_);
                    });
}

awaitable<void> GenerationHandlers::encode(const http::Request& request,
                                           http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kNative,
                    [&](Flow::Clock::time_point) -> Parsed<Ready> {
                      auto parsed = TRY(api::parse_encode(request.body, parts_.settings));
                      return make_ready(parsed.job, api::embedding_format(parsed), parts_);
                    });
}

awaitable<void> GenerationHandlers::score(const http::Request& request,
                                          http::Responder& responder) {
  co_await run_flow(parts_, request, responder, api::Shape::kOpenAi,
                    [&](Flow::Clock::time_point) -> Parsed<Ready> {
                      TRY(check_json_type(request));
                      auto parsed = TRY(api::parse_score(request.body, parts_.settings));
                      return make_ready(parsed.job, api::score_format(parsed), parts_);
                    });
}

awaitable<void> GenerationHandlers::tokenizer_info(const http::Request&,
                                                   http::Responder& responder) {
  co_await send_body(responder, api::tokenizer_info(*parts_.tokenizer, parts_.chat_template.get()));
}

awaitable<void> GenerationHandlers::tokenize(const http::Request& request,
                                             http::Responder& responder) {
  co_await send_body(responder, co_await parts_.pool->run(request.body.size(), [&] {
    return api::tokenize(request.body, parts_.settings, *parts_.tokenizer,
                         parts_.chat_template.get());
  }));
}

awaitable<void> GenerationHandlers::detokenize(const http::Request& request,
                                               http::Responder& responder) {
  co_await send_body(responder, co_await parts_.pool->run(request.body.size(), [&] {
    return api::detokenize(request.body, parts_.settings, *parts_.tokenizer);
  }));
}

}  // namespace fathom
