// Names in a message.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

namespace fathom {

// "a, b, c": all of a few names, else the first 20 "... and 7 more".
inline std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  const auto end = names.begin() + static_cast<ptrdiff_t>(std::min(names.size(), kShown));
  std::string text = fmt::format("{}", fmt::join(names.begin(), end, ", "));
  if (end != names.end()) text += fmt::format(" ... and {} more", names.end() - end);
  return text;
}

}  // namespace fathom
