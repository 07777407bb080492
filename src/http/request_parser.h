// One HTTP/1.x request from bytes, however they are cut. No sockets, so that tests and fuzzers can
// feed it. One parser per request; one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "http/message.h"

namespace fathom::http {

struct RequestLimits {
  size_t header_bytes = 64u << 10;  // request line and fields
  size_t header_lines = 100;
  size_t body_bytes = 64u << 20;
};

class RequestParser {
 public:
  enum class Progress {
    kNeedMore,    // give the bytes not consumed again, with more behind them
    kHeaderDone,  // feed again at once; reported once per request
    kDone,        // take() has the request; bytes not consumed belong to the next one
    kFailed,      // failure() says why, take() has what is known; the connection is beyond use
  };
  struct Failure {
    int status = 400;  // 400, 408, 413, 431 or 501
    std::string message;
  };

  explicit RequestParser(const RequestLimits& limits);
  ~RequestParser();

  // Reads from the front of `bytes` and says in `consumed` how much of it is used up.
  Progress feed(std::string_view bytes, size_t& consumed);
  // Ends the request for a reason the bytes do not show, e.g. a timeout.
  Progress fail(int status, std::string message);

  bool expects_continue() const;  // after kHeaderDone: the client waits for "100 Continue"
  const Failure& failure() const { return failure_; }
  Request take();

 private:
  struct Impl;
  Progress feed_header(std::string_view bytes, size_t& consumed);
  Progress feed_body(std::string_view bytes, size_t& consumed);

  RequestLimits limits_;
  std::unique_ptr<Impl> impl_;
  size_t header_bytes_ = 0;
  Failure failure_;
};

}  // namespace fathom::http
