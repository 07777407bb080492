#include "text/dialects/tool_calls.h"

#include <algorithm>
#include <optional>

#include "text/dialects/held_back.h"

namespace fathom {
namespace {

using Kind = DialectEvent::Kind;
constexpr auto kNone = std::string_view::npos;
constexpr size_t kMostNameBytes = 256;  // of a function or of the type word
constexpr size_t kMostHeadBytes = 1024;

constexpr ToolDialect kToolDialects[] = {
    {.name = "deepseekv3",
     .calls_begin = "<｜tool▁calls▁begin｜>",
     .call_begin = "<｜tool▁call▁begin｜>",
     .separator = "<｜tool▁sep｜>",
     .call_end = "<｜tool▁call▁end｜>",
     .calls_end = "<｜tool▁calls▁end｜>",
     .fenced = true},
    {.name = "deepseekv31",
     .calls_begin = "<｜tool▁calls▁begin｜>",
     .call_begin = "<｜tool▁call▁begin｜>",
     .separator = "<｜tool▁sep｜>",
     .call_end = "<｜tool▁call▁end｜>",
     .calls_end = "<｜tool▁calls▁end｜>",
     .fenced = false},
};

// The head of a call, as far as it can be told. Once told, more text does not change it.
struct Head {
  enum class Verdict { kNeedMore, kNoCall, kCall };
  Verdict verdict = Verdict::kNeedMore;
  std::string_view name;
  size_t size = 0;  // bytes in front of the arguments' brace
};
constexpr Head kNeedMore{Head::Verdict::kNeedMore, {}, 0};
constexpr Head kNoCall{Head::Verdict::kNoCall, {}, 0};

// The line up to `stop`; nullopt without one. `bad`: there can be none any more.
std::optional<std::string_view> word_before(std::string_view text, std::string_view stop,
                                            bool& bad) {
  const size_t end = text.find(stop);
  const std::string_view word = text.substr(0, end);
  // Bytes that may still become `stop` are not of the word.
  const size_t sure = end == kNone ? word.size() - held_back(word, stop) : word.size();
  bad = sure > kMostNameBytes || word.substr(0, sure).find('\n') != kNone;
  if (end == kNone || bad) return std::nullopt;
  return word;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  return text;
}

// Space, then the brace.
Head brace_at(std::string_view text, size_t at, std::string_view name) {
  at += leading_space(text.substr(at));
  if (at == text.size()) return kNeedMore;
  if (text[at] != '{') return kNoCall;
  return {Head::Verdict::kCall, name, at};
}

// NAME <separator> {
Head plain_head(std::string_view text, const ToolDialect& dialect) {
  bool bad = false;
  const auto name = word_before(text, dialect.separator, bad);
  if (!name) return bad ? kNoCall : kNeedMore;
  return brace_at(text, name->size() + dialect.separator.size(), trimmed(*name));
}

// function <separator> NAME newline ```json newline {  -- the fence may be missing, or its word
Head fenced_head(std::string_view text, const ToolDialect& dialect) {
  bool bad = false;
  const auto type = word_before(text, dialect.separator, bad);
  if (!type) return bad ? kNoCall : kNeedMore;
  const size_t begin = type->size() + dialect.separator.size();
  const auto name = word_before(text.substr(begin), "\n", bad);
  if (!name) return bad ? kNoCall : kNeedMore;
  size_t at = begin + name->size();
  at += leading_space(text.substr(at));
  constexpr std::string_view kFence = "```", kWord = "json";
  for (const std::string_view part : {kFence, kWord}) {
    const std::string_view rest = text.substr(at);
    if (rest.size() < part.size() && part.starts_with(rest)) return kNeedMore;
    if (rest.starts_with(part)) at += part.size();
  }
  return brace_at(text, at, trimmed(*name));
}

}  // namespace

Result<const ToolDialect*> find_tool_dialect(std::string_view name) {
  std::string names;
  for (const ToolDialect& dialect : kToolDialects) {
    if (dialect.name == name) return &dialect;
    names += names.empty() ? "" : ", ";
    names += dialect.name;
  }
  return invalid("'{}' is not a known tool call parser (choose from auto, {})", name, names);
}

const ToolDialect& default_tool_dialect() {
  return kToolDialects[0];
}

const ToolDialect* tool_dialect_of(std::string_view source) {
  if (source.find("<｜tool▁sep｜>") == kNone) return nullptr;
  return *find_tool_dialect(source.find("```json") == kNone ? "deepseekv31" : "deepseekv3");
}

void ToolCallParser::push(std::string_view text, DialectEvents& out) {
  text_ += text;
  for (bool more = true; more;) {
    switch (state_) {
      case State::kContent:
        more = read_content(out);
        break;
      case State::kHead:
        more = read_head(out);
        break;
      case State::kArguments:
        more = read_arguments(out);
        break;
      case State::kTail:
        more = read_tail();
        break;
    }
  }
}

void ToolCallParser::finish(DialectEvents& out) {
  if (state_ == State::kArguments) {
    // Bytes that might have become the end marker.
    if (!text_.empty()) out.push_back({Kind::kArguments, text_, calls_ - 1});
  } else if (state_ != State::kTail) {
    lead_ += text_;
    // Space behind calls belongs to them.
    if (calls_ == 0 || trailing_space(lead_) < lead_.size()) release_lead(out);
  }
  text_.clear();
  lead_.clear();
}

void ToolCallParser::release_lead(DialectEvents& out) {
  if (lead_.empty()) return;
  out.push_back({Kind::kContent, std::move(lead_)});
  lead_.clear();
}

// Content, except that the space at its end may belong to a call.
void ToolCallParser::say(std::string_view text, DialectEvents& out) {
  const size_t space = trailing_space(text);
  if (space < text.size()) {
    lead_ += text.substr(0, text.size() - space);
    release_lead(out);
  }
  lead_ += text.substr(text.size() - space);
}

bool ToolCallParser::read_content(DialectEvents& out) {
  const auto& d = *dialect_;
  size_t first = kNone;
  std::string_view marker;
  size_t held = 0;
  for (const std::string_view one : {d.calls_begin, d.call_begin, d.calls_end}) {
    if (one == d.calls_end && !in_calls_) continue;
    if (const size_t at = text_.find(one); at < first) {
      first = at;
      marker = one;
    }
    held = std::max(held, held_back(text_, one));
  }
  if (first == kNone) {
    const size_t sure = text_.size() - held;
    say(std::string_view(text_).substr(0, sure), out);
    text_.erase(0, sure);
    return false;
  }
  say(std::string_view(text_).substr(0, first), out);
  text_.erase(0, first + marker.size());
  if (marker == d.calls_end) {
    in_calls_ = false;
    lead_.clear();
    return true;
  }
  lead_ += marker;
  if (marker == d.call_begin) state_ = State::kHead;
  return true;
}

bool ToolCallParser::read_head(DialectEvents& out) {
  const std::string_view start = std::string_view(text_).substr(0, kMostHeadBytes);
  const Head head = dialect_->fenced ? fenced_head(start, *dialect_) : plain_head(start, *dialect_);
  if (head.verdict == Head::Verdict::kNeedMore && start.size() < kMostHeadBytes) return false;
  if (head.verdict != Head::Verdict::kCall ||
      std::ranges::find(tools_, head.name) == tools_.end()) {
    release_lead(out);
    state_ = State::kContent;
    return true;
  }
  lead_.clear();
  out.push_back({Kind::kCallBegin, std::string(head.name), calls_++});
  text_.erase(0, head.size);
  state_ = State::kArguments;
  depth_ = 0;
  in_string_ = escaped_ = false;
  in_calls_ = true;
  return true;
}

bool ToolCallParser::read_arguments(DialectEvents& out) {
  const size_t marker = text_.find(dialect_->call_end);
  const bool cut = marker != kNone;  // the model closed the call inside its JSON
  const size_t most = cut ? marker : text_.size() - held_back(text_, dialect_->call_end);
  size_t at = 0;
  bool closed = false;
  while (at < most && !closed) {
    const char c = text_[at++];
    if (escaped_) {
      escaped_ = false;
    } else if (in_string_) {
      escaped_ = c == '\\';
      in_string_ = c != '"';
    } else {
      in_string_ = c == '"';
      depth_ += (c == '{' || c == '[') - (c == '}' || c == ']');
      closed = depth_ == 0;
    }
  }
  if (at > 0) out.push_back({Kind::kArguments, text_.substr(0, at), calls_ - 1});
  text_.erase(0, at);
  if (!closed && !cut) return false;
  out.push_back({Kind::kCallEnd, "", calls_ - 1});
  state_ = State::kTail;
  return true;
}

// The closing fence and marker; what else follows is content.
bool ToolCallParser::read_tail() {
  size_t done = 0;
  for (const std::string_view part : {std::string_view("```"), dialect_->call_end}) {
    if (part != dialect_->call_end && !dialect_->fenced) continue;
    const size_t at = done + leading_space(std::string_view(text_).substr(done));
    if (at - done >= kMostSpace) break;
    const std::string_view rest = std::string_view(text_).substr(at);
    if (rest.size() < part.size() && part.starts_with(rest)) return false;
    if (rest.starts_with(part)) done = at + part.size();
  }
  text_.erase(0, done);
  state_ = State::kContent;
  return true;
}

}  // namespace fathom
