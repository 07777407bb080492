// Stand-ins for what surrounds the generation routes: a client's connection and the engine.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/testing/byte_tokenizer.h"
#include "server/generation/generation.h"

namespace fathom {

// Records what a handler sends.
class RecordingResponder final : public http::Responder {
 public:
  explicit RecordingResponder(boost::asio::io_context& io) : io_(io) {}

  http::asio::any_io_executor executor() override { return io_.get_executor(); }
  http::asio::awaitable<void> send(http::Response response) override {
    sent = std::move(response);
    co_return;
  }
  http::asio::awaitable<bool> begin_stream(http::Response head) override {
    stream_head = std::move(head);
    co_return true;
  }
  http::asio::awaitable<bool> write(std::string chunk) override {
    chunks.push_back(std::move(chunk));
    const bool more = !leave_after_chunks || chunks.size() < *leave_after_chunks;
    if (!more && gone_) gone_();
    co_return more;
  }
  http::asio::awaitable<bool> end_stream() override {
    ended = true;
    co_return true;
  }
  void on_disconnect(std::function<void()> callback) override { gone_ = std::move(callback); }
  bool disconnected() const override { return false; }
  void leave() { gone_(); }

  std::optional<http::Response> sent, stream_head;
  std::vector<std::string> chunks;
  bool ended = false;
  std::optional<size_t> leave_after_chunks;

 private:
  boost::asio::io_context& io_;
  std::function<void()> gone_;
};

// Answers every request with the alphabet, one token per event, all at once.
class AlphabetEngine {
 public:
  Result<TokenStream> submit(const GenerateRequest& request, const OnTokens& on_tokens) {
    if (refusal) return std::unexpected(*refusal);
    requests.push_back(request);
    const int64_t most = request.sampling.max_new_tokens < 0 ? 26 : request.sampling.max_new_tokens;
    if (silent) return TokenStream{};
    if (most == 0) on_tokens(finished(request, {}, FinishReason::length_limit(0)));
    for (int64_t i = 0; i < most; ++i) {
      if (fail_at == i) {
        on_tokens(finished(request, {}, FinishReason::abort("out of memory", 500)));
        break;
      }
      TokenEvent event = token(request, static_cast<int32_t>('a' + i % 26));
      if (i + 1 == most) event.finish = FinishReason::length_limit(most);
      on_tokens(std::move(event));
    }
    return TokenStream{};
  }

  std::vector<GenerateRequest> requests;
  std::optional<Error> refusal;
  std::optional<int64_t> fail_at;
  bool silent = false;

 private:
  static TokenEvent finished(const GenerateRequest& request, std::vector<int32_t> tokens,
                             std::optional<FinishReason> finish) {
    return {.tokens = std::move(tokens),
            .finish = std::move(finish),
            .prompt_tokens = static_cast<int32_t>(request.input_ids.size())};
  }
  static TokenEvent token(const GenerateRequest& request, int32_t id) {
    TokenEvent event = finished(request, {id}, std::nullopt);
    if (!request.logprob.enabled) return event;
    PositionLogprobs position{.token = {-0.5f, id}};
    for (int32_t i = 0; i < request.logprob.top_n; ++i) {
      position.top.push_back({-0.5f - static_cast<float>(i), id + i});
    }
    for (const int32_t chosen : request.logprob.token_ids)
      position.chosen.push_back({-3.0f, chosen});
    event.output_logprobs.push_back(std::move(position));
    return event;
  }
};

class EchoTemplate final : public ChatTemplate {
 public:
  Result<std::string> render(std::string_view context_json) const override {
    if (context_json.find("raise") != std::string_view::npos) {
      return invalid("Conversation roles must alternate");
    }
    if (context_json.size() > 1 << 20) return std::string(context_json);
    return std::string("prompt");
  }
  std::string_view source() const override { return "prompt"; }
  const TemplateHabits& habits() const override { return habits_; }
  const ChatTemplate& for_tools() const override { return *this; }

 private:
  TemplateHabits habits_;
};

}  // namespace fathom
