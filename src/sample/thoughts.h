// Follows the thoughts at the start of one output and ends them when their budget is spent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "request/sampling_params.h"

namespace fathom {

class Thoughts {
 public:
  // Borrows `limits`, which may be null: then there are no thoughts to follow.
  explicit Thoughts(const ThoughtLimits* limits = nullptr) : limits_(limits) {}

  // The token that must come next, -1 if any may.
  int32_t forced() const {
    const bool spent = limits_ && limits_->budget && tokens_ >= *limits_->budget;
    return spent || closing_ ? limits_->end[matched_] : -1;
  }
  // The token that comes where the model would end its answer, -1 if it may.
  int32_t instead_of_stop() const {
    return limits_ && limits_->closes ? limits_->end[matched_] : -1;
  }
  // It came: the rest of the end follows.
  void close() { closing_ = limits_ != nullptr; }
  // Tokens that must not come next.
  std::span<const int32_t> banned() const {
    return limits_ ? std::span<const int32_t>(limits_->banned) : std::span<const int32_t>();
  }
  void add(int32_t token) {
    if (!limits_) return;
    ++tokens_;
    if (token != limits_->end[matched_]) matched_ = 0;
    if (token == limits_->end[matched_]) ++matched_;
    if (matched_ < limits_->end.size()) return;
    limits_ = nullptr;
    closing_ = false;
  }

 private:
  const ThoughtLimits* limits_;  // null once the thoughts are over
  int64_t tokens_ = 0;
  size_t matched_ = 0;  // of the end
  bool closing_ = false;
};

}  // namespace fathom
