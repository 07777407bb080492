#include "http/connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>

#include "base/log.h"

namespace fathom::http {
namespace {

using boost::system::error_code;

constexpr size_t kReadBytes = 4096;
constexpr size_t kReadBodyBytes = 64u << 10;
constexpr size_t kIdleBufferBytes = 8192;  // more is given back when a connection idles
constexpr size_t kPipelinedBytes = 64u << 10;
constexpr std::chrono::seconds kLingerRead{5};
constexpr std::chrono::seconds kLingerTotal{30};
constexpr std::chrono::seconds kGoodbye{2};

std::string name_of(const asio::ip::tcp::socket& socket) {
  error_code ec;
  const auto peer = socket.remote_endpoint(ec);
  if (ec) return "";
  auto address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {  // an IPv4 client of a "::" server
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return fmt::format("{}:{}", address.to_string(), peer.port());
}

bool may_have_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

std::string_view http_date() {
  thread_local std::time_t second = 0;
  thread_local char text[32];
  if (const std::time_t now = std::time(nullptr); now != second) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    second = now;
  }
  return text;
}

// Values may echo what a client sent: nothing in them can end a line.
void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (const char c : value) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  out.append("\r\n");
}

}  // namespace

// The handler's side of one request and its response.
class Connection::Exchange final : public Responder {
 public:
  Exchange(Connection& connection, const Request& request)
      : connection_(connection),
        head_only_(request.method == "HEAD"),
        http_1_0_(request.http_1_0),
        keep_alive_(request.keep_alive) {}

  asio::any_io_executor executor() override { return connection_.executor(); }

  asio::awaitable<void> send(Response response) override {
    if (status_ != 0 || connection_.gone_) co_return;
    std::string bytes = head_of(response);
    if (may_have_body(response.status)) {
      append_field(bytes, "Content-Length", std::to_string(response.body.size()));
    }
    bytes.append("\r\n");
    if (!head_only_ && may_have_body(response.status)) bytes.append(response.body);
    const bool sent = co_await connection_.write_all(bytes);
    done_ = sent;
  }

  asio::awaitable<bool> begin_stream(Response head) override {
    if (status_ != 0 || connection_.gone_) co_return false;
    connection_.start_watch();
    if (http_1_0_) keep_alive_ = false;  // the end of the connection is the end of the body
    std::string bytes = head_of(head);
    if (!http_1_0_) append_field(bytes, "Transfer-Encoding", "chunked");
    bytes.append("\r\n");
    co_return co_await connection_.write_all(bytes);
  }

  asio::awaitable<bool> write(std::string chunk) override {
    if (chunk.empty() || head_only_) co_return !connection_.gone_;
    if (http_1_0_) co_return co_await connection_.write_all(chunk);
    std::string bytes = fmt::format("{:x}\r\n", chunk.size());
    bytes.append(chunk).append("\r\n");
    co_return co_await connection_.write_all(bytes);
  }

  asio::awaitable<bool> end_stream() override {
    bool sent = !connection_.gone_;
    if (!http_1_0_ && !head_only_) sent = co_await connection_.write_all("0\r\n\r\n");
    done_ = sent;
    co_return sent;
  }

  void on_disconnect(std::function<void()> callback) override {
    if (connection_.gone_) return callback();
    connection_.on_gone_ = std::move(callback);
    connection_.start_watch();
  }
  bool disconnected() const override { return connection_.gone_; }

  int status() const { return status_; }  // 0: nothing sent yet
  bool may_continue() const { return done_ && keep_alive_; }
  void close_afterwards() { keep_alive_ = false; }

 private:
  std::string head_of(const Response& response) {
    status_ = response.status;
    std::string out = fmt::format("HTTP/1.1 {} {}\r\n", status_, reason_phrase(status_));
    append_field(out, "Date", http_date());
    append_field(out, "Server", "fathom");
    if (!response.content_type.empty()) append_field(out, "Content-Type", response.content_type);
    for (const auto& [name, value] : response.headers) {
      if (equals_ignoring_case(name, "connection")) {
        keep_alive_ = keep_alive_ && !equals_ignoring_case(value, "close");
      } else {
        append_field(out, name, value);
      }
    }
    if (!keep_alive_) {
      append_field(out, "Connection", "close");
    } else if (http_1_0_) {
      append_field(out, "Connection", "keep-alive");
    }
    return out;
  }

  Connection& connection_;
  const bool head_only_;
  const bool http_1_0_;
  bool keep_alive_;
  bool done_ = false;
  int status_ = 0;
};

Connection::Connection(asio::ip::tcp::socket socket, asio::ssl::context* tls,
                       const ServerOptions& options, const Server::Hooks& hooks)
    : transport_(std::move(socket), tls),
      options_(options),
      hooks_(hooks),
      remote_(name_of(transport_.socket())),
      watch_ended_(transport_.executor(), Clock::time_point::max()) {}

asio::awaitable<void> Connection::run() {
  auto self = shared_from_this();
  try {
    if (!transport_.secure() || co_await shake_hands()) co_await serve();
  } catch (const std::exception& e) {  // out of memory, or a bug in a hook: this client only
    log::error("Connection {} ended by an exception: {}", remote_, e.what());
  }
  client_gone();
  close();
}

void Connection::close() {
  transport_.close();
}

void Connection::expire(Clock::time_point now) {
  if (!overdue(now)) return;  // the wait ended while this call was on its way
  wait_forever();
  timed_out_ = true;
  transport_.cancel();
}

asio::awaitable<bool> Connection::shake_hands() {
  wait_at_most(options_.handshake_timeout);
  const error_code ec = co_await transport_.handshake();
  wait_forever();
  if (ec)
    log::debug("{}: TLS handshake failed: {}", remote_, timed_out_ ? "too slow" : ec.message());
  co_return !ec && !timed_out_;
}

asio::awaitable<void> Connection::serve() {
  for (bool keep_alive = true; keep_alive; served_before_ = true) {
    RequestParser parser(
        {options_.max_header_bytes, options_.max_header_lines, options_.max_body_bytes});
    const ReadResult result = co_await read_request(parser);
    if (result == ReadResult::kClosed) co_return;
    if (result == ReadResult::kRefused) {
      co_await refuse(parser);
      co_return;
    }
    Request request = parser.take();
    request.remote = remote_;
    keep_alive = co_await respond(request);
  }
  wait_at_most(kGoodbye);
  co_await transport_.finish_sending();
}

asio::awaitable<Connection::ReadResult> Connection::read_request(RequestParser& parser) {
  if (buffer_.size() == 0) {
    if (buffer_.capacity() > kIdleBufferBytes) buffer_.shrink_to_fit();
    wait_at_most(served_before_ ? options_.keep_alive_timeout : options_.header_timeout);
    if (!co_await fill(kReadBytes)) co_return ReadResult::kClosed;
  }
  wait_at_most(options_.header_timeout);
  bool in_body = false;
  for (;;) {
    size_t used = 0;
    const auto data = buffer_.data();
    const auto progress = parser.feed({static_cast<const char*>(data.data()), data.size()}, used);
    buffer_.consume(used);
    if (progress == RequestParser::Progress::kDone) break;
    if (progress == RequestParser::Progress::kFailed) co_return ReadResult::kRefused;
    if (progress == RequestParser::Progress::kHeaderDone) {
      in_body = true;
      if (buffer_.size() == 0 && parser.expects_continue() &&
          !co_await write_all("HTTP/1.1 100 Continue\r\n\r\n")) {
        co_return ReadResult::kClosed;
      }
      continue;
    }
    if (in_body) wait_at_most(options_.body_idle_timeout);
    if (co_await fill(in_body ? kReadBodyBytes : kReadBytes)) continue;
    if (!timed_out_) co_return ReadResult::kClosed;
    parser.fail(408, in_body ? "The request body did not arrive in time."
                             : "The request's headers did not arrive in time.");
    co_return ReadResult::kRefused;
  }
  wait_forever();
  co_return ReadResult::kRequest;
}

// false: closed by the client, broken, or timed out (then timed_out_ says so).
asio::awaitable<bool> Connection::fill(size_t at_most) {
  auto [ec, bytes] = co_await transport_.async_read_some(buffer_.prepare(at_most), kAwait);
  buffer_.commit(bytes);
  co_return !ec && !timed_out_;
}

asio::awaitable<void> Connection::refuse(RequestParser& parser) {
  wait_forever();
  timed_out_ = false;
  Request request = parser.take();
  request.remote = remote_;
  const auto& failure = parser.failure();
  Exchange exchange(*this, request);
  exchange.close_afterwards();
  Response response = hooks_.on_error(failure.status, failure.message, request.path);
  co_await exchange.send(std::move(response));
  hooks_.after(request, failure.status);
  co_await linger();
}

asio::awaitable<bool> Connection::respond(const Request& request) {
  Exchange exchange(*this, request);
  std::string failure = "The handler sent no response.";
  try {
    co_await hooks_.handler(request, exchange);
  } catch (const std::exception& e) {
    failure = e.what();
  } catch (...) {
    failure = "unknown exception";
  }
  on_gone_ = nullptr;
  co_await stop_watch();
  if (exchange.status() == 0 && !gone_) {
    Response response = hooks_.on_error(500, failure, request.path);
    co_await exchange.send(std::move(response));
  }
  hooks_.after(request, exchange.status() == 0 ? 499 : exchange.status());
  co_return exchange.may_continue() && !gone_;
}

asio::awaitable<bool> Connection::write_all(std::string_view bytes) {
  while (!bytes.empty() && !gone_) {
    wait_at_most(options_.write_timeout);
    auto [ec, sent] =
        co_await transport_.async_write_some(asio::buffer(bytes.data(), bytes.size()), kAwait);
    wait_forever();
    bytes.remove_prefix(sent);
    if (ec || timed_out_) client_gone();
  }
  co_return !gone_;
}

// A client that is still sending would lose our answer to a reset if we closed at once: take what
// it sends for a while, and drop it.
asio::awaitable<void> Connection::linger() {
  wait_at_most(kGoodbye);
  co_await transport_.finish_sending();
  const auto end = Clock::now() + kLingerTotal;
  do {
    buffer_.clear();
    wait_at_most(kLingerRead);
  } while (co_await fill(kReadBodyBytes) && Clock::now() < end);
}

void Connection::start_watch() {
  if (watching_ || gone_ || buffer_.size() >= kPipelinedBytes) return;
  watching_ = true;
  transport_.async_read_some(
      buffer_.prepare(kReadBytes),
      asio::bind_cancellation_slot(watch_cancel_.slot(),
                                   [self = shared_from_this()](error_code ec, size_t bytes) {
                                     self->on_watched(ec, bytes);
                                   }));
}

void Connection::on_watched(error_code ec, size_t bytes) {
  watching_ = false;
  buffer_.commit(bytes);
  const bool cancelled = ec == asio::error::operation_aborted && watch_ending_ && !timed_out_;
  if (ec && !cancelled) client_gone();
  if (watch_ending_) {
    watch_ended_.cancel();
  } else {
    start_watch();
  }
}

asio::awaitable<void> Connection::stop_watch() {
  if (!watching_) co_return;
  watch_ending_ = true;
  watch_cancel_.emit(asio::cancellation_type::all);
  while (watching_) co_await watch_ended_.async_wait(kAwait);
  watch_ending_ = false;
}

void Connection::client_gone() {
  gone_ = true;
  if (auto callback = std::exchange(on_gone_, nullptr)) callback();
}

}  // namespace fathom::http
