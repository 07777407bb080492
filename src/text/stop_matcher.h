// Finds stop strings (and regexes) in text that arrives in pieces. The stop string that ends first
// wins (of several that end there, the longest), so how the text was cut makes no difference.
// Regexes see the text so far, at most 4096 bytes back. Holds back the longest suffix that may
// still become a stop string. Work per byte: one step per stop string, amortised. One thread at a
// time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom {

// What is looked for: prepared once, for all sequences of a request.
class StopSet {
 public:
  static Result<std::shared_ptr<const StopSet>> create(const std::vector<std::string>& strings,
                                                       const std::vector<std::string>& regexes);
  ~StopSet();
  StopSet(const StopSet&) = delete;

 private:
  friend class StopMatcher;
  StopSet();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class StopMatcher {
 public:
  // at_once: nobody looks at the text before its end, so all that a regex sees is held back, and
  // its match leaves nothing behind.
  explicit StopMatcher(std::shared_ptr<const StopSet> set, bool at_once = false);
  ~StopMatcher();
  StopMatcher(StopMatcher&&) noexcept;
  StopMatcher& operator=(StopMatcher&&) noexcept;

  struct Output {
    std::string text;                    // safe to send now
    std::optional<std::string> matched;  // the stop string or the regex's pattern; text ends here
    std::string stop_text;               // the matched text itself (for no_stop_trim)
  };
  Output push(std::string_view text);
  // End of text: releases what was held back.
  std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
