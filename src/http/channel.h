// A queue from any thread to one coroutine: push() never blocks, pop() suspends.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

namespace fathom::http {

template <class T>
class Channel : public std::enable_shared_from_this<Channel<T>> {
 public:
  explicit Channel(boost::asio::any_io_executor executor)
      : executor_(executor), wake_(executor, std::chrono::steady_clock::time_point::max()) {}

  // Any thread.
  void push(T value) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      queue_.push_back(std::move(value));
    }
    notify();
  }
  // Any thread. pop() returns what is queued, then nullopt.
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    notify();
  }
  // On the executor, one caller at a time. nullopt: closed.
  boost::asio::awaitable<std::optional<T>> pop() {
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        if (!queue_.empty()) {
          T value = std::move(queue_.front());
          queue_.pop_front();
          co_return value;
        }
        if (closed_) co_return std::nullopt;
        wake_.expires_at(std::chrono::steady_clock::time_point::max());
      }
      co_await wake_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
  }

 private:
  void notify() {
    boost::asio::post(executor_, [self = this->shared_from_this()] { self->wake_.cancel(); });
  }

  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer wake_;
  std::mutex mutex_;
  std::deque<T> queue_;
  bool closed_ = false;
};

}  // namespace fathom::http
