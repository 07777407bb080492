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
    for (uint32_t i = 1, matched = 0; i < text_.size(); ++i) {
      matched = advance(matched, text_[i]);
      fallback_[i + 1] = matched;
    }
  }
  const std::string& text() const { return text_; }
  // How much is matched after one more byte.
  uint32_t advance(uint32_t matched, char c) const {
    while (matched > 0 && text_[matched] != c) matched = fallback_[matched];
    return text_[matched] == c ? matched + 1 : 0;
  }

 private:
  std::string text_;
  std::vector<uint32_t>
      fallback_;  // of a matched length: the longest shorter one that also matches
};

struct Found {
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  std::string name;
};

}  // namespace

struct StopSet::Impl {
  std::vector<StopString> strings;
  struct Pattern {
    std::string source;
    ft_regex* regex;
  };
  std::vector<Pattern> patterns;

  ~Impl() {
    for (Pattern& pattern : patterns) rust<ft_regex_free>(pattern.regex);
  }
};

struct StopMatcher::Impl {
  std::shared_ptr<const StopSet> set;
  bool at_once;
  const std::vector<StopString>& strings = set->impl_->strings;
  const std::vector<StopSet::Impl::Pattern>& patterns = set->impl_->patterns;

  std::vector<uint32_t> matched = std::vector<uint32_t>(strings.size());  // bytes of each string
  std::string tail = {};  // text seen last: sent bytes (for regexes), then bytes held back
  size_t released = 0;    // bytes of tail that were sent

  // The stop string that ends first in tail[from, end); the longest one of those.
  Found find_string(size_t from) {
    for (size_t at = from; at < tail.size(); ++at) {
      const StopString* longest = nullptr;
      for (size_t i = 0; i < strings.size(); ++i) {
        const StopString& s = strings[i];
        // A whole match is the text's end, so that `matched` goes on from less than all.
        matched[i] = s.advance(matched[i], tail[at]);
        const bool whole = matched[i] == s.text().size();
        if (whole && (!longest || matched[i] > longest->text().size())) longest = &s;
      }
      if (longest) return {at + 1 - longest->text().size(), at + 1, longest->text()};
    }
    return {};
  }

  // The regular expression whose match begins first, if that is before `best`.
  Found find_pattern(Found best) const {
    for (const auto& pattern : patterns) {
      size_t begin = 0;
      size_t end = 0;
      if (rust<ft_regex_find>(pattern.regex, tail.data(), tail.size(), &begin, &end) == 1 &&
          end > begin && begin < best.begin && end > released) {
        best = {begin, end, pattern.source};
      }
    }
    return best;
  }

  // Length of the longest suffix that may still become what is looked for.
  size_t held_back() const {
    size_t most = at_once && !patterns.empty() ? std::min(kRegexWindow, tail.size()) : 0;
    for (const size_t length : matched) most = std::max(most, length);
    return most;
  }

  // Forgets sent bytes that no regular expression looks at any more.
  void forget() {
    const size_t keep = patterns.empty() || at_once ? 0 : kRegexWindow;
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
    std::ranges::fill(matched, 0);
  }
};

StopSet::StopSet() : impl_(std::make_unique<Impl>()) {}
StopSet::~StopSet() = default;

StopMatcher::StopMatcher(std::shared_ptr<const StopSet> set, bool at_once)
    : impl_(new Impl{.set = std::move(set), .at_once = at_once}) {}
StopMatcher::~StopMatcher() = default;
StopMatcher::StopMatcher(StopMatcher&&) noexcept = default;
StopMatcher& StopMatcher::operator=(StopMatcher&&) noexcept = default;

Result<std::shared_ptr<const StopSet>> StopSet::create(const std::vector<std::string>& strings,
                                                       const std::vector<std::string>& regexes) {
  std::shared_ptr<StopSet> set(new StopSet);
  Impl& m = *set->impl_;
  for (const std::string& s : strings) {
    if (!s.empty()) m.strings.emplace_back(s);
  }
  for (const std::string& source : regexes) {
    if (source.empty()) continue;
    ft_regex* regex = rust<ft_regex_compile>(source.data(), source.size());
    if (!regex) return invalid("stop_regex '{}' is not valid: {}", source, rust_error());
    m.patterns.push_back({source, regex});
  }
  return set;
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
