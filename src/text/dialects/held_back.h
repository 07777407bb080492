// How much of the end of a text may still become a marker.
#pragma once

#include <algorithm>
#include <string_view>

namespace fathom {

// Space that may stand beside a marker. Longer runs are text: nothing is held back without end.
inline constexpr size_t kMostSpace = 256;

// Length of the longest suffix of `text` that is a proper prefix of `marker`.
inline size_t held_back(std::string_view text, std::string_view marker) {
  for (size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n) {
    if (text.ends_with(marker.substr(0, n))) return n;
  }
  return 0;
}

inline bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

// Length of the space at the beginning and at the end of `text`.
inline size_t leading_space(std::string_view text) {
  return static_cast<size_t>(std::ranges::find_if_not(text, is_space) - text.begin());
}
inline size_t trailing_space(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && is_space(text[text.size() - 1 - n])) ++n;
  return n;
}

}  // namespace fathom
