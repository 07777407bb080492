// A Responder that adds headers to whatever a handler sends, and remembers the start of the body.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "http/server.h"

namespace fathom {

class DecoratedResponder final : public http::Responder {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // `inner` outlives this. At most `keep_bytes` of the body are kept for output().
  DecoratedResponder(http::Responder& inner, Headers headers, size_t keep_bytes)
      : inner_(inner), headers_(std::move(headers)), keep_bytes_(keep_bytes) {}

  http::asio::any_io_executor executor() override { return inner_.executor(); }
  http::asio::awaitable<void> send(http::Response response) override {
    keep(response.body);
    status_ = response.status;
    decorate(response);
    return inner_.send(std::move(response));
  }
  http::asio::awaitable<bool> begin_stream(http::Response head) override {
    status_ = head.status;
    decorate(head);
    return inner_.begin_stream(std::move(head));
  }
  http::asio::awaitable<bool> write(std::string chunk) override {
    keep(chunk);
    return inner_.write(std::move(chunk));
  }
  http::asio::awaitable<bool> end_stream() override { return inner_.end_stream(); }
  void on_disconnect(std::function<void()> callback) override {
    inner_.on_disconnect(std::move(callback));
  }
  bool disconnected() const override { return inner_.disconnected(); }

  const std::string& output() const { return output_; }
  int status() const { return status_; }  // 0: nothing was sent

 private:
  void decorate(http::Response& response) {
    response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
    if (response.status != 503) return;
    for (const auto& [name, value] : response.headers) {
      if (http::equals_ignoring_case(name, "retry-after")) return;
    }
    response.headers.emplace_back("Retry-After", "1");
  }
  void keep(std::string_view bytes) {
    if (output_.size() < keep_bytes_) output_ += bytes.substr(0, keep_bytes_ - output_.size());
  }

  http::Responder& inner_;
  const Headers headers_;
  const size_t keep_bytes_;
  std::string output_;
  int status_ = 0;
};

}  // namespace fathom
