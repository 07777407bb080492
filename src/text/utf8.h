// UTF-8 that may be cut or damaged.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

// Result of reading one character at the start of `bytes`.
struct Utf8Step {
  enum class Kind { kCharacter, kInvalid, kIncomplete };
  Kind kind;
  int length;  // bytes of the character, of the maximal invalid part, or all that is left
};
Utf8Step next_utf8(std::string_view bytes);

// One U+FFFD per maximal invalid part, as Python's errors="replace"; an incomplete end counts as
// one.
std::string replace_invalid_utf8(std::string_view bytes);

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace fathom
