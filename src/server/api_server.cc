#include "server/api_server.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "server/answers.h"
#include "server/cors.h"
#include "server/decorated_responder.h"

namespace fathom {
namespace {

constexpr std::chrono::milliseconds kDrainCheck{20};
constexpr std::chrono::seconds kDrainReport{5};

// Counts up for as long as it lives.
class Counted {
 public:
  Counted(std::atomic<int>& count, bool counts) : count_(count), counts_(counts) {
    if (counts_) ++count_;
  }
  ~Counted() {
    if (counts_) --count_;
  }
  Counted(const Counted&) = delete;

 private:
  std::atomic<int>& count_;
  const bool counts_;
};

class CountedHttp {
 public:
  CountedHttp(Metrics& metrics, std::string_view endpoint, std::string_view method)
      : metrics_(metrics), endpoint_(endpoint), method_(method) {
    metrics_.http_began(endpoint_, method_);
  }
  ~CountedHttp() { metrics_.http_ended(endpoint_, method_); }
  CountedHttp(const CountedHttp&) = delete;

 private:
  Metrics& metrics_;
  const std::string_view endpoint_, method_;
};

std::string_view without_root(std::string_view path, std::string_view root) {
  while (root.ends_with('/')) root.remove_suffix(1);
  if (root.empty() || !path.starts_with(root)) return path;
  const std::string_view rest = path.substr(root.size());
  if (rest.empty()) return "/";
  return rest.front() == '/' ? rest : path;
}

DecoratedResponder::Headers added_headers(const http::Request& request) {
  DecoratedResponder::Headers headers = cors_headers(request);
  if (const auto id = request.header("x-request-id"); !id.empty()) {
    headers.emplace_back("X-Request-Id", id);
  }
  return headers;
}

bool always_open(std::string_view path) {
  return path.starts_with("/health") || path.starts_with("/ready") ||
         path.starts_with("/metrics") || path == "/ping";
}

}  // namespace

ApiServer::ApiServer(ApiServerOptions options)
    : options_(std::move(options)),
      auth_(options_.api_key, options_.admin_key),
      state_(std::make_unique<ServerState>(options_.metrics)),
      routes_(route_table(options_.routes, *state_, blocking_, reading_)) {
  for (const Route& route : routes_.table()) {
    for (const auto method : route.methods) {
      state_->metrics.http_known(endpoint_label(&route), method);
    }
  }
}

Status ApiServer::open_logs() {
  state_->request_log = TRY(RequestLog::open(options_.request_log));
  if (options_.crash_dump_folder.empty()) return {};
  state_->journal = TRY(RequestJournal::open({.folder = options_.crash_dump_folder}));
  return {};
}

Result<std::unique_ptr<ApiServer>> ApiServer::listen(ApiServerOptions options) {
  std::unique_ptr<ApiServer> server(new ApiServer(std::move(options)));
  ApiServer* self = server.get();
  http::Server::Hooks hooks;
  hooks.handler = [self](const http::Request& request, http::Responder& responder) {
    return self->handle(request, responder);
  };
  hooks.on_error = [self](int status, std::string_view message, std::string_view path) {
    return self->protocol_error(status, message, path);
  };
  hooks.after = [self](const http::Request& request, int status) { self->after(request, status); };
  server->http_ = TRY(http::Server::listen(server->options_.http, std::move(hooks)));
  TRY(server->open_logs());  // no journal is left behind where the port is taken
  if (server->options_.http.port == 0) server->state_->tuned({{"port", server->port()}});
  server->http_->start();
  return server;
}

const Route* ApiServer::route_of(std::string_view path) const {
  return routes_.find(without_root(path, options_.root_path));
}

http::asio::awaitable<void> ApiServer::handle(const http::Request& request,
                                              http::Responder& responder) {
  const Route* route = route_of(request.path);
  const CountedHttp counted(state_->metrics, endpoint_label(route), request.method);
  // Before the phase is looked at, so that drain() misses nobody.
  const Counted generating(state_->generating, route && route->needs == Needs::kGeneration);
  const RequestLog& log = *state_->request_log;
  const bool logs = route && route->needs == Needs::kGeneration;
  DecoratedResponder decorated(responder, added_headers(request), logs ? log.wanted_output() : 0);
  if (auto response = refuse(request, route)) {
    co_await decorated.send(std::move(*response));
    co_return;
  }
  if (!logs) co_return co_await route->handler(request, decorated);
  const auto start = std::chrono::steady_clock::now();
  const uint64_t id = next_request_++;
  log.received(request);
  if (state_->journal) state_->journal->received(id, request);
  co_await route->handler(request, decorated);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  if (state_->journal) state_->journal->finished(id, decorated.status());
  log.finished(request, decorated.output(), decorated.status(), time.count());
}

std::optional<http::Response> ApiServer::refuse(const http::Request& request,
                                                const Route* route) const {
  if (is_preflight(request)) return preflight_response(request);
  const bool open =
      request.method == "OPTIONS" || always_open(without_root(request.path, options_.root_path));
  const Access access = open ? Access::kOpen : route ? route->access : Access::kNormal;
  if (auth_.check(request, access) != Verdict::kAllowed) {
    if (route && route->errors == ErrorShape::kAnthropic) {
      return error_response(route->errors, 401, "Unauthorized");
    }
    return json_response({{"error", "Unauthorized"}}, 401);
  }
  if (route == nullptr) return error_response(ErrorShape::kDetail, 404, "Not Found");
  if (!allows(*route, request.method)) {
    auto response = error_response(route->errors, 405, "Method Not Allowed");
    response.headers.emplace_back("Allow", allowed_methods(*route));
    return response;
  }
  return unavailable(*route);
}

std::optional<http::Response> ApiServer::unavailable(const Route& route) const {
  const Phase phase = state_->phase();
  if (route.needs != Needs::kNothing && state_->model() == nullptr) {
    return error_response(route.errors, 503,
                          fmt::format("The server is starting: the model is being loaded ({:.0f} s "
                                      "so far).",
                                      state_->seconds_since_start()));
  }
  if (route.needs == Needs::kGeneration && phase == Phase::kStopping) {
    auto response = error_response(route.errors, 503, "The server is shutting down.");
    response.headers.emplace_back("Connection", "close");
    return response;
  }
  return std::nullopt;
}

http::Response ApiServer::protocol_error(int status, std::string_view message,
                                         std::string_view path) const {
  const Route* route = route_of(path);
  const std::string text =
      status == 500 ? fmt::format("Internal server error: {}", message) : std::string(message);
  if (status == 500) log::error("{}: {}", path, text);
  return error_response(route ? route->errors : ErrorShape::kDetail, status, text);
}

void ApiServer::after(const http::Request& request, int status) {
  state_->metrics.http_answered(endpoint_label(route_of(request.path)), request.method, status);
  if (!options_.access_log) return;
  const auto excluded = [this](std::string_view path) {
    return std::ranges::any_of(options_.access_log_excludes, [path](const std::string& prefix) {
      return path.starts_with(prefix);
    });
  };
  if (request.method.empty()) {
    log::warn("Invalid HTTP request received.");
  } else if (status != 499 && !excluded(request.path)) {
    const std::string line = fmt::format(
        "INFO:     {} - \"{} {} HTTP/{}\" {} {}", request.remote, request.method, request.target,
        request.http_1_0 ? "1.0" : "1.1", status, http::reason_phrase(status));
    options_.access_log_has_own_level ? log::critical("{}", line) : log::info("{}", line);
  }
}

void ApiServer::stop() {
  if (http_) http_->stop();
}

void ApiServer::attach(LoadedModel model) {
  state_->metrics.set_facts(model.facts);
  state_->loaded(std::move(model));
}

bool ApiServer::drain(double grace_seconds) {
  using Clock = std::chrono::steady_clock;
  state_->enter(Phase::kStopping);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(grace_seconds));
  auto report = Clock::now();
  while (state_->generating > 0) {
    if (Clock::now() >= end) return false;
    if (Clock::now() >= report) {
      log::info("Gracefully exiting... Remaining number of requests {}.",
                state_->generating.load());
      report += kDrainReport;
    }
    std::this_thread::sleep_for(kDrainCheck);
  }
  return true;
}

}  // namespace fathom
