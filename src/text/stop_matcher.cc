#include "text/stop_matcher.h"

#include <algorithm>

#include "text/rust_call.h"

namespace fathom {
namespace {

// Text a regular expression may look back over; older text is released.
constexpr size_t kRegexWindow = 4096;

struct Found {
  size_t begin = std::string::npos;
  size_t end = 0;
  std::string name;
};

}  // namespace

struct StopMatcher::Impl {
  std::vector<std::string> strings;
  struct Pattern {
    std::string source;
    ft_regex* regex;
  };
  std::vector<Pattern> patterns;
  size_t longest = 0;

  std::string tail;      // text seen last: released part, then what is held back
  size_t released = 0;   // bytes of tail that were sent

  ~Impl() {
    for (Pattern& pattern : patterns) ft_regex_free(pattern.regex);
  }

  // Earliest match that ends in unsent or new text; the first listed one on ties.
  Found earliest(size_t from) const {
    Found best;
    for (const std::string& s : strings) {
      const size_t at = tail.find(s, from);
      if (at < best.begin) best = {at, at + s.size(), s};
    }
    for (const Pattern& pattern : patterns) {
      size_t begin = 0;
      size_t end = 0;
      if (ft_regex_find(pattern.regex, tail.data(), tail.size(), &begin, &end) == 1 &&
          end > begin && begin < best.begin && end > released) {
        best = {begin, end, pattern.source};
      }
    }
    return best;
  }

  // Length of the longest suffix that is a proper prefix of some stop string.
  size_t held_back() const {
    size_t most = 0;
    for (const std::string& s : strings) {
      for (size_t n = std::min(s.size() - 1, tail.size()); n > most; --n) {
        if (tail.compare(tail.size() - n, n, s, 0, n) == 0) {
          most = n;
          break;
        }
      }
    }
    return most;
  }

  // Keeps only what a later match can need.
  void trim() {
    const size_t keep = patterns.empty() ? longest : std::max(longest, kRegexWindow);
    if (released <= keep) return;
    size_t drop = released - keep;
    // Regexes want valid UTF-8: cut between characters.
    while (drop > 0 && (static_cast<uint8_t>(tail[drop]) & 0xc0) == 0x80) --drop;
    tail.erase(0, drop);
    released -= drop;
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
    if (s.empty()) continue;
    m.strings.push_back(s);
    m.longest = std::max(m.longest, s.size());
  }
  for (const std::string& source : regexes) {
    if (source.empty()) continue;
    ft_regex* regex = ft_regex_compile(source.data(), source.size());
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
  // A match may begin in text held back, never in text sent: that was no prefix of a stop string.
  const size_t from = m.released;
  m.tail += text;
  const Found found = m.earliest(from);
  if (found.begin != std::string::npos) {
    const size_t begin = std::max(found.begin, m.released);
    out.text = m.tail.substr(m.released, begin - m.released);
    out.matched = found.name;
    out.stop_text = m.tail.substr(begin, found.end - begin);
    m.tail.clear();
    m.released = 0;
    return out;
  }
  const size_t safe = m.tail.size() - m.held_back();
  if (safe > m.released) {
    out.text = m.tail.substr(m.released, safe - m.released);
    m.released = safe;
  }
  m.trim();
  return out;
}

std::string StopMatcher::finish() {
  Impl& m = *impl_;
  std::string rest = m.tail.substr(m.released);
  m.tail.clear();
  m.released = 0;
  return rest;
}

}  // namespace fathom
