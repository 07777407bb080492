// The bytes of one connection: a TCP socket, with TLS around it where the server speaks HTTPS.
// Internal to http/. All methods run on the socket's executor; one read and one write at a time.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

namespace fathom::http {

// How coroutines wait: an error is part of the result.
inline constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable);

class Transport {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using error_code = boost::system::error_code;

  // `tls` may be null: plain HTTP.
  Transport(Socket socket, boost::asio::ssl::context* tls) : socket_(std::move(socket)) {
    if (tls) tls_.emplace(socket_, *tls);
  }

  boost::asio::any_io_executor executor() { return socket_.get_executor(); }
  const Socket& socket() const { return socket_; }
  bool secure() const { return tls_.has_value(); }

  boost::asio::awaitable<error_code> handshake() {
    auto [ec] = co_await tls_->async_handshake(boost::asio::ssl::stream_base::server, kAwait);
    co_return ec;
  }
  template <class Token>
  auto async_read_some(boost::asio::mutable_buffer to, Token&& token) {
    return tls_ ? tls_->async_read_some(to, std::forward<Token>(token))
                : socket_.async_read_some(to, std::forward<Token>(token));
  }
  template <class Token>
  auto async_write_some(boost::asio::const_buffer from, Token&& token) {
    return tls_ ? tls_->async_write_some(from, std::forward<Token>(token))
                : socket_.async_write_some(from, std::forward<Token>(token));
  }
  // Tells the client that nothing more comes. With TLS this waits for the client's answer.
  boost::asio::awaitable<void> finish_sending() {
    if (tls_) {
      co_await tls_->async_shutdown(boost::asio::as_tuple(boost::asio::use_awaitable));
    } else {
      error_code ignored;
      socket_.shutdown(Socket::shutdown_send, ignored);
    }
  }
  void cancel() {
    error_code ignored;
    socket_.cancel(ignored);
  }
  void close() {
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace fathom::http
