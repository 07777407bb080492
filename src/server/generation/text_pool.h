// Threads for work that would hold up an I/O thread: parsing bodies, templates, tokenising.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstddef>
#include <exception>
#include <type_traits>

#include "base/log.h"

namespace fathom {

// Texts from this size on are made into tokens on a thread of their own: they take up to seconds, and
// none of the others should wait for them.
inline constexpr size_t kLongTextBytes = 256 << 10;

// Must be joined (destroyed) before the I/O threads that wait for it go away.
class TextPool {
 public:
  explicit TextPool(size_t threads) : pool_(threads) {}
  ~TextPool() {
    pool_.join();
    long_texts_.join();
  }

  // Runs `work` on the pool some time; nobody waits for it. What it throws is logged.
  template <class Work>
  void post(Work work) {
    boost::asio::post(pool_, [work = std::move(work)]() mutable {
      try {
        work();
      } catch (const std::exception& e) {
        log::error("Work in the background failed: {}", e.what());
      }
    });
  }

  // Runs `work` on the pool and continues on the caller's executor.
  template <class Work>
  boost::asio::awaitable<std::invoke_result_t<Work&>> run(Work work) {
    return run(0, std::move(work));
  }
  // For work on a text or body of so many bytes.
  template <class Work>
  boost::asio::awaitable<std::invoke_result_t<Work&>> run(size_t bytes, Work work) {
    co_return co_await boost::asio::co_spawn(
        (bytes < kLongTextBytes ? pool_ : long_texts_).get_executor(),
        [&work]() -> boost::asio::awaitable<std::invoke_result_t<Work&>> { co_return work(); },
        boost::asio::use_awaitable);
  }

 private:
  boost::asio::thread_pool pool_;
  boost::asio::thread_pool long_texts_{1};
};

}  // namespace fathom
