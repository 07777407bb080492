// Thin wrapper of Boost.Beast: an asynchronous HTTP/1.1 server whose connections are coroutines.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "http/message.h"
#include "http/tls.h"

namespace fathom::http {

namespace asio = boost::asio;

// The way back to one client, for the time of one request. All methods run on the connection's
// executor. Exactly one of send() or begin_stream()...end_stream() must be used.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual asio::any_io_executor executor() = 0;

  virtual asio::awaitable<void> send(Response response) = 0;

  // Chunked response. false from any of these: the client is gone or too slow; stop working.
  virtual asio::awaitable<bool> begin_stream(Response head) = 0;  // body is ignored
  virtual asio::awaitable<bool> write(std::string chunk) = 0;     // one HTTP chunk, flushed
  virtual asio::awaitable<bool> end_stream() = 0;

  // Called once, on the executor, when the client closes its socket (half-closing counts) or stops
  // reading before the response is done; at once if that has already happened. The socket is
  // watched from the first call on. The callback is dropped when the handler returns.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  virtual bool disconnected() const = 0;
};

// Must send a response. Exceptions become a 500 by `on_error`. Handlers of one connection never
// overlap: pipelined requests wait their turn.
using Handler = std::function<asio::awaitable<void>(const Request&, Responder&)>;

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 30000;  // 0: any; see Server::port()
  int threads = 1;
  size_t max_body_bytes = 64u << 20;
  size_t max_header_bytes = 64u << 10;
  size_t max_header_lines = 100;
  size_t max_connections = 16384;
  TlsFiles tls;  // empty: plain HTTP
  std::chrono::seconds handshake_timeout{10};
  std::chrono::seconds header_timeout{60};
  std::chrono::seconds body_idle_timeout{60};
  std::chrono::seconds keep_alive_timeout{75};
  std::chrono::seconds write_timeout{60};  // a client that does not read for so long is dropped
};

class Server {
 public:
  // protocol_error(status, message) -> body for errors met before a handler is known (400, 408,
  // 413, 431, 503 at max_connections). after(request, status): called when a response has been sent
  // (access log, metrics), with 499 when the client left before one was begun. All hooks may be
  // called from any I/O thread.
  struct Hooks {
    Handler handler;
    std::function<Response(int status, std::string_view message, std::string_view path)> on_error;
    std::function<void(const Request&, int status)> after;
  };
  // Reads the TLS files and binds at once; "Port 30000 is already in use" when it is.
  static Result<std::unique_ptr<Server>> listen(const ServerOptions& options, Hooks hooks);
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;
  virtual asio::any_io_executor executor() = 0;
  virtual void start() = 0;           // starts the I/O threads
  virtual void stop_accepting() = 0;  // closes the listener; open connections go on
  virtual int open_connections() const = 0;
  virtual void stop() = 0;  // closes everything and joins
};

}  // namespace fathom::http
