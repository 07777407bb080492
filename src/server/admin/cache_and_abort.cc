#include "server/admin/cache_and_abort.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "server/answers.h"
#include "server/error_body.h"

namespace fathom {
namespace {

namespace asio = http::asio;

constexpr double kLongestFlushWait = 3600;
constexpr std::string_view kFlushed =
    "Cache flushed.\nPlease check backend logs for more details. (When there are running or "
    "waiting "
    "requests, the operation will not be performed.)\n";

std::optional<double> seconds_from(const std::string& text) {
  if (text.empty()) return 0;
  double seconds = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!std::isfinite(seconds) || seconds < 0) return std::nullopt;
  return std::min(seconds, kLongestFlushWait);
}

asio::awaitable<void> answer_flush(const ServerState& state, const http::Request& request,
                                   http::Responder& responder) {
  http::Response response;
  EngineControl& engine = *state.model()->engine;
  bool flushed = false;
  const auto seconds = seconds_from(request.query_value("timeout"));
  if (seconds) flushed = co_await engine.flush_cache(responder.executor(), *seconds);
  if (!seconds) {
    response =
        error_response(ErrorShape::kNative, 400,
                       fmt::format("timeout must be a number of seconds, 0 or more, got '{}'.",
                                   request.query_value("timeout")));
  } else if (flushed) {
    response = plain_text(std::string(kFlushed));
  } else {
    const EngineStats stats = engine.stats();
    response = error_response(
        ErrorShape::kNative, 400,
        fmt::format("Cache not flushed because there are pending requests. #queue-req: {}, "
                    "#running-req: {}",
                    stats.queued, stats.running));
  }
  co_await responder.send(std::move(response));
}

struct AbortRequest {
  std::string rid;
  bool abort_all = false;
};

// Members of other names are ignored.
Result<AbortRequest> parse_abort(const std::string& body) {
  const auto json = TRY(parse_json_object(body, "The request body"));
  AbortRequest request;
  if (const auto rid = json.find("rid"); rid != json.end() && !rid->is_null()) {
    if (!rid->is_string()) return invalid("rid: must be a string");
    request.rid = rid->get<std::string>();
  }
  if (const auto all = json.find("abort_all"); all != json.end() && !all->is_null()) {
    if (!all->is_boolean()) return invalid("abort_all: must be a boolean");
    request.abort_all = all->get<bool>();
  }
  return request;
}

}  // namespace

http::Handler flush_cache_handler(const ServerState& state) {
  return [&state](const http::Request& request, http::Responder& responder) {
    return answer_flush(state, request, responder);
  };
}

http::Handler abort_request_handler(const ServerState& state) {
  return [&state](const http::Request& request, http::Responder& responder) {
    const auto parsed = parse_abort(request.body);
    if (!parsed) {
      return responder.send(error_response(ErrorShape::kFlat, 400, parsed.error().message));
    }
    EngineControl& engine = *state.model()->engine;
    if (parsed->abort_all) {
      engine.abort_all();
    } else if (!parsed->rid.empty()) {
      engine.abort_prefix(parsed->rid);
    }
    http::Response response;
    response.content_type = "";
    return responder.send(std::move(response));
  };
}

http::Handler refusing_handler(ErrorShape shape, int status, std::string message) {
  return [=](const http::Request&, http::Responder& responder) {
    return responder.send(error_response(shape, status, message));
  };
}

http::Handler refusing_handler(std::string message) {
  return refusing_handler(ErrorShape::kNative, 400, std::move(message));
}

http::Handler unsuccessful_handler(std::string message) {
  return [message = std::move(message)](const http::Request&, http::Responder& responder) {
    return responder.send(json_response({{"success", false}, {"message", message}}, 400));
  };
}

}  // namespace fathom
