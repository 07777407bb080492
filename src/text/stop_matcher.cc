#include "text/stop_matcher.h"

#include <algorithm>

#include "text/rust_call.h"

namespace fathom {
namespace {

// Text a regular expression may look back over; older text is forgotten.
constexpr size_t kRegexWindow = 4096;

// Knuth-Morris-Pratt: how much of `text` the end of the stream matches, byte by byte.
class StopString {
 public:
  explicit StopString(std::string text) : text_(std::move(text)), fallback_(text_.size() + 1, 0) {
    for (size_t i = 1, matched = 0; i < text_.size(); ++i) {
      matched = advance(matched, text_[i]);
      fallback_[i + 1] = matched;
    }
  }
  // True when the text's last byte completes the stop string.
  bool push(char c) {
    matched_ = advance(matched_, c);
    return matched_ == text_.size();
  }
  const std::string& text() const { return text_; }
  size_t matched() const { return matched_; }
  void reset() { matched_ = 0; }

 private:
  size_t advance(size_t matched, char c) const {
    while (matched > 0 && text_[matched] != c) matched = fallback_[matched];
    return text_[matched] == c ? matched + 1 : 0;
  }

  std::string text_;
  std::vector<size_t> fallback_;  // of a matched length: the longest shorter one that also matches
  size_t matched_ = 0;
};

struct Found {
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  std::string name;
};

}  // namespace

struct StopMatcher::Impl {
  std::vector<StopString> strings;
  struct Pattern {
    std::string source;
    ft_regex* regex;
  };
  std::vector<Pattern> patterns;

  std::string tail;     // text seen last: sent bytes (for regexes), then bytes held back
  size_t released = 0;  // bytes of tail that were sent

  ~Impl() {
    for (Pattern& pattern : patterns) rust<ft_regex_free>(pattern.regex);
  }

  // The stop string that ends first in tail[from, end); the longest one of those.
  Found find_string(size_t from) {
    for (size_t at = from; at < tail.size(); ++at) {
      const StopString* longest = nullptr;
      for (StopString& s : strings) {
        if (s.push(tail[at]) && (!longest || s.text().size() > longest->text().size()))
          longest = &s;
      }
      if (longest) return {at + 1 - longest->text().size(), at + 1, longest->text()};
    }
    return {};
  }

  // The regular expression whose match begins first, if that is before `best`.
  Found find_pattern(Found best) const {
    for (const Pattern& pattern : patterns) {
      size_t begin = 0;
      size_t end = 0;
      if (rust<ft_regex_find>(pattern.regex, tail.data(), tail.size(), &begin, &end) == 1 &&
          end > begin && begin < best.begin && end > released) {
        best = {begin, end, pattern.source};
      }
    }
    return best;
  }

  // Length of the longest suffix that may still become a stop string.
  size_t held_back() const {
    size_t most = 0;
    for (const StopString& s : strings) most = std::max(most, s.matched());
    return most;
  }

  // Forgets sent bytes that no regular expression looks at any more.
  void forget() {
    const size_t keep = patterns.empty() ? 0 : kRegexWindow;
    if (released <= keep) return;
    size_t drop = released - keep;
    // Regexes want valid UTF-8: cut between characters.
    while (drop > 0 && drop < tail.size() && (static_cast<uint8_t>(tail[drop]) & 0xc0) == 0x80)
      --drop;
    tail.erase(0, drop);
    released -= drop;
  }

  void clear() {
    tail.clear();
    released = 0;
    for (StopString& s : strings) s.reset();
  }
};

StopMatcher::StopMatcher() : impl_(std::make_unique<Impl>()) {}
StopMatcher::~StopMatcher() = default;
StopMatcher::StopMatcher(StopMatcher&&) noexcept = default;
StopMatcher& StopMatcher::operator=(StopMatcher&&) noexcept = default;

Result<StopMatcher> StopMatcher::create(const std::vector<std::string>& strings,
                                        const std::vector<std::string>& regexes) {
  StopMatcher matcher;
  Impl& m = *matcher.impl_;
  for (const std::string& s : strings) {
    if (!s.empty()) m.strings.emplace_back(s);
  }
  for (const std::string& source : regexes) {
    if (source.empty()) continue;
    ft_regex* regex = rust<ft_regex_compile>(source.data(), source.size());
    if (!regex) return invalid("stop_regex '{}' is not valid: {}", source, rust_error());
    m.patterns.push_back({source, regex});
  }
  return matcher;
}

StopMatcher::Output StopMatcher::push(std::string_view text) {
  Impl& m = *impl_;
  Output out;
  if (text.empty()) return out;
  if (m.strings.empty() && m.patterns.empty()) {
    out.text = text;
    return out;
  }
  const size_t fresh = m.tail.size();
  m.tail += text;
  const Found found = m.find_pattern(m.find_string(fresh));
  if (found.begin != std::string::npos) {
    const size_t begin = std::max(found.begin, m.released);
    out.text = m.tail.substr(m.released, begin - m.released);
    out.matched = found.name;
    out.stop_text = m.tail.substr(begin, found.end - begin);
    m.clear();
    return out;
  }
  const size_t safe = m.tail.size() - m.held_back();
  if (safe > m.released) {
    out.text = m.tail.substr(m.released, safe - m.released);
    m.released = safe;
  }
  m.forget();
  return out;
}

std::string StopMatcher::finish() {
  Impl& m = *impl_;
  std::string rest = m.tail.substr(m.released);
  m.clear();
  return rest;
}

}  // namespace fathom
