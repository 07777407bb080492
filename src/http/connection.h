// One client connection: a coroutine that reads a request, has it handled, answers, and starts
// over. Internal to http/. Everything runs on the connection's executor except where said.
#pragma once

#include <atomic>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <memory>

#include "http/request_parser.h"
#include "http/server.h"
#include "http/transport.h"

namespace fathom::http {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  // `options` and `hooks` outlive the connection.
  // `tls` may be null: plain HTTP; else it outlives the connection too.
  Connection(asio::ip::tcp::socket socket, asio::ssl::context* tls, const ServerOptions& options,
             const Server::Hooks& hooks);

  asio::any_io_executor executor() { return transport_.executor(); }
  asio::awaitable<void> run();
  void close();

  // Any thread: is some wait of this connection over its time? Then expire() must be called.
  bool overdue(Clock::time_point now) const { return now >= deadline_.load(); }
  void expire(Clock::time_point now);

 private:
  class Exchange;
  enum class ReadResult { kRequest, kRefused, kClosed };

  asio::awaitable<bool> shake_hands();
  asio::awaitable<void> serve();
  asio::awaitable<ReadResult> read_request(RequestParser& parser);
  asio::awaitable<bool> fill(size_t at_most);
  asio::awaitable<void> refuse(RequestParser& parser);
  asio::awaitable<bool> respond(const Request& request);
  asio::awaitable<bool> write_all(std::string_view bytes);
  asio::awaitable<void> linger();

  void wait_at_most(Clock::duration time) { deadline_ = Clock::now() + time; }
  void wait_forever() { deadline_ = Clock::time_point::max(); }

  // While a handler runs, a read tells whether the client is still there; what a pipelining client
  // sent meanwhile stays in buffer_ for the next request.
  void start_watch();
  void on_watched(boost::system::error_code ec, size_t bytes);
  asio::awaitable<void> stop_watch();
  void client_gone();

  Transport transport_;
  const ServerOptions& options_;
  const Server::Hooks& hooks_;
  const std::string remote_;
  boost::beast::flat_buffer buffer_;
  bool served_before_ = false;

  std::atomic<Clock::time_point> deadline_{Clock::time_point::max()};
  bool timed_out_ = false;

  bool gone_ = false;
  std::function<void()> on_gone_;
  bool watching_ = false;
  bool watch_ending_ = false;
  asio::cancellation_signal watch_cancel_;
  asio::steady_timer watch_ended_;
};

}  // namespace fathom::http
