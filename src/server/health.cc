#include "server/health.h"

namespace fathom {
namespace {

constexpr double kFreshSeconds = 1;

http::Response empty_response(bool good) {
  http::Response response;
  response.status = good ? 200 : 503;
  response.content_type = "";
  return response;
}

http::asio::awaitable<void> answer_health(const ServerState& state, double timeout_seconds,
                                          bool always_probe, http::Responder& responder) {
  bool good = state.phase() == Phase::kServing;
  if (good) {
    EngineControl& engine = *state.model()->engine;
    const EngineStats stats = engine.stats();
    const bool fresh = stats.steps > 0 && stats.last_step_seconds_ago < kFreshSeconds;
    // A paused engine answers no probe, and is well.
    if (!state.paused && !stats.paused && (always_probe || !fresh)) {
      good = co_await engine.probe(responder.executor(), timeout_seconds);
    }
  }
  http::Response response = empty_response(good);
  co_await responder.send(std::move(response));
}

}  // namespace

http::Handler health_handler(const ServerState& state, double timeout_seconds) {
  return [&state, timeout_seconds](const http::Request&, http::Responder& responder) {
    return answer_health(state, timeout_seconds, false, responder);
  };
}

http::Handler health_generate_handler(const ServerState& state, double timeout_seconds) {
  return [&state, timeout_seconds](const http::Request&, http::Responder& responder) {
    return answer_health(state, timeout_seconds, true, responder);
  };
}

http::Handler ready_handler(const ServerState& state) {
  return [&state](const http::Request&, http::Responder& responder) {
    return responder.send(empty_response(state.phase() == Phase::kServing && !state.paused));
  };
}

http::Handler ping_handler(const ServerState& state) {
  return [&state](const http::Request&, http::Responder& responder) {
    return responder.send(empty_response(state.phase() == Phase::kServing));
  };
}

}  // namespace fathom
