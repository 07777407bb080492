#include "http/request_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <optional>

#include "http/target.h"

namespace fathom::http {
namespace {

namespace beast = boost::beast;
using beast::error_code;
using HttpError = beast::http::error;

// Beast's string body, except that it does not believe Content-Length before the bytes are there,
// and leaves room for the padding that the JSON parser reads into.
struct PaddedBody {
  using value_type = std::string;
  static constexpr size_t kPadding = 64;
  static constexpr size_t kBelieved = 1u << 20;

  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(beast::http::header<isRequest, Fields>&, std::string& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>& length, error_code& ec) {
      ec = {};
      const auto announced = static_cast<size_t>(length.value_or(0));
      body_.reserve(std::min(announced, kBelieved) + kPadding);
    }
    template <class Buffers>
    size_t put(const Buffers& buffers, error_code& ec) {
      ec = {};
      size_t bytes = 0;
      for (auto buffer : beast::buffers_range(buffers)) {
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        bytes += buffer.size();
      }
      return bytes;
    }
    void finish(error_code& ec) {
      ec = {};
      body_.reserve(body_.size() + kPadding);
    }

   private:
    std::string& body_;
  };
};

bool has_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (equals_ignoring_case(item, token)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

RequestParser::Failure describe(error_code ec, const RequestLimits& limits) {
  if (ec == HttpError::header_limit || ec == HttpError::buffer_overflow) {
    return {431, fmt::format("The request's headers exceed {} bytes.", limits.header_bytes)};
  }
  if (ec == HttpError::body_limit) {
    return {413, fmt::format("The request body exceeds {} bytes.", limits.body_bytes)};
  }
  return {400, "Invalid HTTP request received: " + ec.message() + "."};
}

}  // namespace

struct RequestParser::Impl {
  beast::http::parser<true, PaddedBody> parser;
  bool header_taken = false;
  Request request;
};

RequestParser::RequestParser(const RequestLimits& limits)
    : limits_(limits), impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
  impl_->parser.body_limit(limits.body_bytes);
}

RequestParser::~RequestParser() = default;

RequestParser::Progress RequestParser::fail(int status, std::string message) {
  failure_ = {status, std::move(message)};
  return Progress::kFailed;
}

RequestParser::Progress RequestParser::feed(std::string_view bytes, size_t& consumed) {
  consumed = 0;
  return impl_->parser.is_header_done() ? feed_body(bytes, consumed) : feed_header(bytes, consumed);
}

RequestParser::Progress RequestParser::feed_header(std::string_view bytes, size_t& consumed) {
  auto& parser = impl_->parser;
  if (!parser.got_some()) {  // empty lines before a request are to be ignored (RFC 9112, 2.2)
    consumed = std::min(bytes.find_first_not_of("\r\n"), bytes.size());
  }
  error_code ec;
  consumed += parser.put(boost::asio::buffer(bytes.substr(consumed)), ec);
  // Beast's own limit starts anew whenever a call ends exactly behind a field.
  header_bytes_ += consumed;
  const size_t pending = parser.is_header_done() ? 0 : bytes.size() - consumed;
  if (header_bytes_ + pending > limits_.header_bytes) ec = HttpError::header_limit;
  if (ec == HttpError::need_more) return Progress::kNeedMore;
  if (ec) {
    failure_ = describe(ec, limits_);
    return Progress::kFailed;
  }
  const auto& message = parser.get();
  const auto lines = static_cast<size_t>(std::distance(message.begin(), message.end()));
  if (lines > limits_.header_lines) {
    return fail(431, fmt::format("The request has {} header lines, at most {} are accepted.", lines,
                                 limits_.header_lines));
  }
  const auto coding = message.find(beast::http::field::transfer_encoding);
  if (coding != message.end() && !equals_ignoring_case(coding->value(), "chunked")) {
    return fail(501, "Only the transfer encoding 'chunked' is supported.");
  }
  return Progress::kHeaderDone;
}

RequestParser::Progress RequestParser::feed_body(std::string_view bytes, size_t& consumed) {
  auto& parser = impl_->parser;
  while (!parser.is_done()) {
    // A chunked body ends with "0 CRLF CRLF"; Beast asserts to be given that much at once. Whatever
    // cannot become that goes to Beast, which knows what is malformed.
    const std::string_view rest = bytes.substr(consumed);
    if (parser.chunked() && rest.size() < 5 && (rest.empty() || rest[0] == '0')) {
      return Progress::kNeedMore;
    }
    error_code ec;
    const size_t used = parser.put(boost::asio::buffer(rest), ec);
    consumed += used;
    if (ec == HttpError::need_more || (!ec && used == 0 && !parser.is_done())) {
      // Only chunk headers and trailers wait for more; body bytes are consumed as they come.
      if (bytes.size() - consumed > limits_.header_bytes)
        ec = HttpError::header_limit;
      else
        return Progress::kNeedMore;
    }
    if (ec) {
      failure_ = describe(ec, limits_);
      return Progress::kFailed;
    }
  }
  return Progress::kDone;
}

bool RequestParser::expects_continue() const {
  const auto& parser = impl_->parser;
  return !parser.is_done() && has_token(parser.get()[beast::http::field::expect], "100-continue");
}

Request RequestParser::take() {
  auto message = impl_->parser.release();
  Request request;
  request.method = message.method_string();
  request.target = message.target();
  auto [path, query] = split_target(request.target);
  request.path = std::move(path);
  request.query = std::move(query);
  for (const auto& field : message)
    request.headers.emplace_back(field.name_string(), field.value());
  request.body = std::move(message.body());
  request.body.reserve(request.body.size() + PaddedBody::kPadding);
  request.http_1_0 = message.version() < 11;
  request.keep_alive = message.keep_alive();
  return request;
}

}  // namespace fathom::http
