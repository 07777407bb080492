#include "http/server.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/log.h"
#include "http/connection.h"
#include "http/tls_context.h"

namespace fathom::http {
namespace {

using asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 4096;
constexpr std::chrono::seconds kStopPatience{5};

// One file descriptor per connection; the usual soft limit of 1,024 is far below what we promise.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

Result<tcp::endpoint> endpoint_of(asio::io_context& io, std::string host, uint16_t port) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  error_code ec;
  if (const auto address = asio::ip::make_address(host, ec); !ec) {
    return tcp::endpoint(address, port);
  }
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), ec);
  if (ec || found.empty()) return invalid("--host {}: {}", host, ec.message());
  return found.begin()->endpoint();
}

Status bind(asio::io_context& io, tcp::acceptor& acceptor, const ServerOptions& options) {
  const tcp::endpoint endpoint = TRY(endpoint_of(io, options.host, options.port));
  error_code ec;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec && endpoint.address().is_v6() && endpoint.address().is_unspecified()) {
    acceptor.set_option(asio::ip::v6_only(false), ec);
  }
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(kBacklog, ec);
  if (ec == asio::error::address_in_use) {
    return invalid("Port {} is already in use", options.port);
  }
  if (ec)
    return invalid("Cannot listen on {} port {}: {}", options.host, options.port, ec.message());
  return {};
}

// The connections that are open, for deadlines and for stopping. Any thread.
class Registry {
 public:
  void add(const std::shared_ptr<Connection>& connection) {
    std::lock_guard lock(mutex_);
    open_[connection.get()] = connection;
  }
  void remove(Connection* connection) {
    std::lock_guard lock(mutex_);
    open_.erase(connection);
  }
  size_t size() const {
    std::lock_guard lock(mutex_);
    return open_.size();
  }
  template <class Predicate>
  std::vector<std::shared_ptr<Connection>> select(Predicate wanted) const {
    std::vector<std::shared_ptr<Connection>> found;
    std::lock_guard lock(mutex_);
    for (const auto& [key, weak] : open_) {
      auto connection = weak.lock();
      if (connection && wanted(*connection)) found.push_back(std::move(connection));
    }
    return found;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Connection*, std::weak_ptr<Connection>> open_;
};

class BeastServer final : public Server {
 public:
  BeastServer(const ServerOptions& options, Hooks hooks)
      : options_(options),
        hooks_(std::move(hooks)),
        io_(std::max(1, options.threads)),
        acceptor_(accept_strand_),
        sweep_timer_(io_) {}
  ~BeastServer() override { stop(); }

  Status open() {
    if (options_.tls.enabled()) tls_ = TRY(tls_context(options_.tls));
    TRY(bind(io_, acceptor_, options_));
    port_ = acceptor_.local_endpoint().port();
    return {};
  }

  uint16_t port() const override { return port_; }
  asio::any_io_executor executor() override { return io_.get_executor(); }
  int open_connections() const override { return static_cast<int>(registry_.size()); }

  void start() override {
    asio::co_spawn(accept_strand_, accept_loop(), asio::detached);
    asio::co_spawn(io_, sweep_loop(), asio::detached);
    for (int i = 0; i < std::max(1, options_.threads); ++i) {
      threads_.emplace_back([this] { run(); });
    }
  }

  void stop_accepting() override {
    asio::post(accept_strand_, [this] {
      error_code ignored;
      acceptor_.close(ignored);
    });
  }

  void stop() override {
    if (threads_.empty()) return;
    stop_accepting();
    const auto end = Connection::Clock::now() + kStopPatience;
    // Closing wakes the handlers; the loop also catches those that were just being accepted.
    while (registry_.size() > 0 && Connection::Clock::now() < end) {
      for (auto& connection : registry_.select([](const Connection&) { return true; })) {
        asio::post(connection->executor(), [connection] { connection->close(); });
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    io_.stop();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void run() {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& e) {
        log::error("Exception on an I/O thread: {}", e.what());
      }
    }
  }

  asio::any_io_executor connection_executor() {
    // One thread is a strand by itself.
    if (options_.threads <= 1) return io_.get_executor();
    return asio::make_strand(io_);
  }

  asio::awaitable<void> accept_loop() {
    for (;;) {
      tcp::socket socket(connection_executor());
      auto [ec] = co_await acceptor_.async_accept(socket, kAwait);
      if (ec == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
      if (ec) {  // out of descriptors or memory: others must end first
        asio::steady_timer pause(io_, std::chrono::milliseconds(50));
        co_await pause.async_wait(kAwait);
        continue;
      }
      socket.set_option(tcp::no_delay(true), ec);
      socket.set_option(asio::socket_base::keep_alive(true), ec);
      try {
        if (registry_.size() >= options_.max_connections) {
          turn_away(socket);
        } else {
          open_connection(std::move(socket));
        }
      } catch (const std::exception& e) {  // out of memory: this client only
        log::error("A connection could not be opened: {}", e.what());
      }
    }
  }

  void turn_away(tcp::socket& socket) {
    if (tls_) return;  // closing says enough
    const Response response = hooks_.on_error(503, "Too many open connections.", "");
    const std::string bytes = fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
        "Retry-After: 1\r\nConnection: close\r\n\r\n{}",
        response.content_type, response.body.size(), response.body);
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(bytes), ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  void open_connection(tcp::socket socket) {
    auto executor = socket.get_executor();
    auto connection = std::make_shared<Connection>(std::move(socket), tls_.get(), options_, hooks_);
    registry_.add(connection);
    try {
      asio::co_spawn(executor, connection->run(),
                     [this, key = connection.get()](std::exception_ptr) { registry_.remove(key); });
    } catch (...) {
      registry_.remove(connection.get());
      throw;
    }
  }

  asio::awaitable<void> sweep_loop() {
    const auto shortest =
        std::min({options_.handshake_timeout, options_.header_timeout, options_.body_idle_timeout,
                  options_.keep_alive_timeout, options_.write_timeout});
    const auto period = std::clamp<Connection::Clock::duration>(
        shortest / 4, std::chrono::milliseconds(50), std::chrono::seconds(1));
    for (;;) {
      sweep_timer_.expires_after(period);
      co_await sweep_timer_.async_wait(kAwait);
      const auto now = Connection::Clock::now();
      try {
        for (auto& late : registry_.select([now](const Connection& c) { return c.overdue(now); })) {
          asio::post(late->executor(), [late, now] { late->expire(now); });
        }
      } catch (const std::exception& e) {  // out of memory: the next sweep finds them again
        log::error("Connections could not be swept: {}", e.what());
      }
    }
  }

  // Connections refer to the first four; io_ destroys what is left of them.
  const ServerOptions options_;
  const Hooks hooks_;
  std::unique_ptr<asio::ssl::context> tls_;
  Registry registry_;
  asio::io_context io_;
  asio::any_io_executor accept_strand_ = asio::make_strand(io_);
  tcp::acceptor acceptor_;
  asio::steady_timer sweep_timer_;
  uint16_t port_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(const ServerOptions& options, Hooks hooks) {
  raise_file_limit();
  auto server = std::make_unique<BeastServer>(options, std::move(hooks));
  TRY(server->open());
  return server;
}

}  // namespace fathom::http
