#include "http/client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>

#include "http/transport.h"

namespace fathom::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
constexpr uint64_t kLargestAnswer = 1u << 20;

asio::awaitable<void> exchange(const Url& url,
                               beast::http::request<beast::http::string_body>& request,
                               Result<int>& result) {
  const auto failed = [&result](std::string_view step, error_code ec) {
    result = fail(ErrorCode::kUnavailable, "{}: {}", step, ec.message());
  };
  asio::ip::tcp::resolver resolver(co_await asio::this_coro::executor);
  auto [unresolved, found] =
      co_await resolver.async_resolve(url.host, std::to_string(url.port), kAwait);
  if (unresolved) co_return failed("resolve", unresolved);
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  auto [refused, endpoint] = co_await stream.async_connect(found, kAwait);
  if (refused) co_return failed("connect", refused);
  auto [unsent, sent] = co_await beast::http::async_write(stream, request, kAwait);
  if (unsent) co_return failed("send", unsent);
  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::string_body> parser;
  parser.body_limit(kLargestAnswer);
  auto [unread, read] = co_await beast::http::async_read(stream, buffer, parser, kAwait);
  if (unread) co_return failed("receive", unread);
  result = static_cast<int>(parser.get().result_int());
}

}  // namespace

Result<Url> parse_url(std::string_view text, const Url& defaults) {
  Url url = defaults;
  std::string_view rest = text;
  if (rest.starts_with("https://")) return invalid("{}: https is not supported; use http", text);
  if (rest.starts_with("http://")) rest.remove_prefix(7);
  const std::string_view authority = rest.substr(0, rest.find('/'));
  if (authority.size() < rest.size()) url.path = rest.substr(authority.size());
  std::string_view host = authority;
  // The last colon outside of [brackets] is before the port.
  const size_t colon = authority.rfind(':');
  if (colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos) {
    const std::string_view digits = authority.substr(colon + 1);
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), url.port);
    if (ec != std::errc() || end != digits.data() + digits.size() || url.port == 0) {
      return invalid("{}: '{}' is not a port", text, digits);
    }
    host = authority.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty() || host.find_first_of(" \t\r\n@") != std::string_view::npos) {
    return invalid("{}: not host:port or http://host:port/path", text);
  }
  url.host = host;
  return url;
}

Result<int> post(const Url& url, std::string_view content_type, std::string body,
                 std::chrono::milliseconds timeout) {
  beast::http::request<beast::http::string_body> request(beast::http::verb::post, url.path, 11);
  request.set(beast::http::field::host, url.host + ":" + std::to_string(url.port));
  request.set(beast::http::field::content_type, content_type);
  request.set(beast::http::field::connection, "close");
  request.body() = std::move(body);
  request.prepare_payload();

  asio::io_context io(1);
  Result<int> result = fail(ErrorCode::kUnavailable, "no answer within {} ms", timeout.count());
  asio::co_spawn(io, exchange(url, request, result), asio::detached);
  io.run_for(timeout);
  return result;  // what still waits is destroyed with io
}

}  // namespace fathom::http
