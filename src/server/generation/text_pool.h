// Threads for work that would hold up an I/O thread: parsing bodies, templates, tokenising.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstddef>
#include <type_traits>

namespace fathom {

// Must be joined (destroyed) before the I/O threads that wait for it go away.
class TextPool {
 public:
  explicit TextPool(size_t threads) : pool_(threads) {}
  ~TextPool() { pool_.join(); }

  // Runs `work` on the pool some time; nobody waits for it.
  template <class Work>
  void post(Work work) {
    boost::asio::post(pool_, std::move(work));
  }

  // Runs `work` on the pool and continues on the caller's executor.
  template <class Work>
  boost::asio::awaitable<std::invoke_result_t<Work&>> run(Work work) {
    co_return co_await boost::asio::co_spawn(
        pool_.get_executor(),
        [&work]() -> boost::asio::awaitable<std::invoke_result_t<Work&>> { co_return work(); },
        boost::asio::use_awaitable);
  }

 private:
  boost::asio::thread_pool pool_;
};

}  // namespace fathom
