// Messages to the engine thread, from any thread. Push never blocks for long; the engine takes all at
// once.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.h"

namespace fathom {

struct AddRequest {
  uint64_t id = 0;
  GenerateRequest request;
  OnTokens on_tokens;
};
struct DropRequest {  // the stream is gone: no event
  uint64_t id = 0;
};
struct AbortRequests {  // by an administrator: streams get a finish event
  std::string rid_prefix;
  bool all = false;
};
struct FlushCache {
  std::function<void(bool flushed)> done;  // on the engine thread
  std::chrono::steady_clock::time_point deadline;
};
struct Control {  // by an administrator; runs on the engine thread between two steps
  std::function<void(class EngineLoop&)> act;
};
using Message = std::variant<AddRequest, DropRequest, AbortRequests, FlushCache, Control>;

class Inbox {
 public:
  // False after close(), and the message is lost. Only news that a request is gone is still taken
  // then: it lets the rest finish sooner.
  bool push(Message message) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ && !std::holds_alternative<DropRequest>(message)) return false;
      messages_.push_back(std::move(message));
    }
    wake_.notify_one();
    return true;
  }
  // All messages so far; waits for one, for close(), or until `until`.
  std::vector<Message> take(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return !messages_.empty() || closed_; };
    if (until == std::chrono::steady_clock::time_point::max()) {
      wake_.wait(lock, ready);
    } else {
      wake_.wait_until(lock, until, ready);
    }
    return std::exchange(messages_, {});
  }
  std::vector<Message> take_now() {
    std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    wake_.notify_all();
  }
  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }
  // No request can come any more.
  bool finished() const {
    std::lock_guard lock(mutex_);
    return closed_ && messages_.empty();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Message> messages_;
  bool closed_ = false;
};

}  // namespace fathom
