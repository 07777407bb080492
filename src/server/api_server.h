// Fathom's HTTP server: routes, access rules, cross-origin headers, access log and metrics around
// the handlers, and the phases of a server's life. It listens before the model is loaded and
// answers 503 until then.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "http/server.h"
#include "server/auth.h"
#include "server/route_table.h"
#include "server/routes.h"
#include "server/server_state.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/request_log.h"

namespace fathom {

struct ApiServerOptions {
  http::ServerOptions http;
  RouteOptions routes;
  MetricsOptions metrics;
  std::string api_key, admin_key;
  std::string root_path;  // stripped from the front of request paths
  bool access_log = true;
  bool access_log_has_own_level = false;         // --log-level-http: shown whatever --log-level is
  std::vector<std::string> access_log_excludes;  // prefixes of paths
  RequestLog::Options request_log;
  std::string crash_dump_folder;  // empty: none
};

// One thread starts, loads, drains and stops it.
class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> listen(ApiServerOptions options);
  ~ApiServer() { stop(); }

  uint16_t port() const { return http_->port(); }
  ServerState& state() { return *state_; }

  // Generation works from here on; health is 503 until state().enter(kServing).
  void attach(LoadedModel model);
  // Refuses new generation requests and waits for those being answered; false: the time is over.
  bool drain(double grace_seconds);
  // Closes all connections and joins the I/O threads. Handlers still waiting are destroyed with
  // this object, so what they use must be destroyed before it.
  void stop();

 private:
  explicit ApiServer(ApiServerOptions options);

  http::asio::awaitable<void> handle(const http::Request& request, http::Responder& responder);
  // The answer when a request must not reach its route's handler.
  std::optional<http::Response> refuse(const http::Request& request, const Route* route) const;
  std::optional<http::Response> unavailable(const Route& route) const;
  http::Response protocol_error(int status, std::string_view message, std::string_view path) const;
  void after(const http::Request& request, int status);
  const Route* route_of(std::string_view path) const;
  Status open_logs();

  const ApiServerOptions options_;
  const Auth auth_;
  // Destroyed from the bottom up: the pool posts into http_, whose last coroutines refer to the
  // rest.
  std::unique_ptr<ServerState> state_;
  std::atomic<uint64_t> next_request_{1};
  Routes routes_;
  std::unique_ptr<http::Server> http_;
  TextPool blocking_{1};  // may wait for the engine
  TextPool reading_{1};
};

}  // namespace fathom
