// Requests on their way to the engine: being read, made into tokens, waiting for a grammar. The
// engine does not know them yet, so aborts are kept here until all whom they may mean have arrived.
// Any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fathom {

class Arrivals {
 public:
  // From a request's beginning until it is submitted.
  class Ticket {
   public:
    explicit Ticket(Arrivals& arrivals) : arrivals_(arrivals), seen_(arrivals.enter()) {}
    ~Ticket() { arrivals_.leave(seen_); }
    Ticket(const Ticket&) = delete;

    // What `submit` returns; nothing when the request was aborted since it began.
    template <class Submit>
    std::optional<std::invoke_result_t<Submit&>> unless_aborted(std::string_view rid,
                                                                Submit submit) {
      std::lock_guard lock(arrivals_.mutex_);
      if (arrivals_.hit(seen_, rid)) return std::nullopt;
      return submit();
    }

   private:
    Arrivals& arrivals_;
    const uint64_t seen_;  // aborts before its time
  };

  // `tell` tells the engine; nobody is submitted between the two.
  template <class Tell>
  void abort(std::string rid_prefix, bool all, Tell tell) {
    std::lock_guard lock(mutex_);
    if (!on_the_way_.empty()) aborts_.push_back({std::move(rid_prefix), all});
    ++count_;
    tell();
  }

 private:
  struct Abort {
    std::string rid_prefix;
    bool all;
  };

  uint64_t enter() {
    std::lock_guard lock(mutex_);
    on_the_way_.insert(count_);
    return count_;
  }
  void leave(uint64_t seen) {
    std::lock_guard lock(mutex_);
    on_the_way_.erase(on_the_way_.find(seen));
    const uint64_t needed = on_the_way_.empty() ? 0 : count_ - *on_the_way_.begin();
    while (aborts_.size() > needed) aborts_.pop_front();
  }
  bool hit(uint64_t seen, std::string_view rid) const {
    for (size_t i = aborts_.size() - (count_ - seen); i < aborts_.size(); ++i) {
      if (aborts_[i].all || rid.starts_with(aborts_[i].rid_prefix)) return true;
    }
    return false;
  }

  std::mutex mutex_;
  std::multiset<uint64_t> on_the_way_;  // what their tickets have seen
  std::deque<Abort> aborts_;            // the newest
  uint64_t count_ = 0;                  // of all aborts
};

}  // namespace fathom
