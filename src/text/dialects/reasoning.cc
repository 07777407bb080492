#include "text/dialects/reasoning.h"

#include "text/dialects/held_back.h"

namespace fathom {
namespace {

using Start = ReasoningDialect::Start;

constexpr ReasoningDialect kReasoningDialects[] = {
    {"deepseek-r1", "<think>", "</think>", Start::kThinking},
    {"deepseek-v3", "<think>", "</think>", Start::kAsAsked},
    {"deepseek-v31", "<think>", "</think>", Start::kAsAsked},
    {"qwen3", "<think>", "</think>", Start::kSaying},
    {"qwen3-thinking", "<think>", "</think>", Start::kThinking},
    {"kimi", "◁think▷", "◁/think▷", Start::kSaying},
    {"kimi_k2", "<think>", "</think>", Start::kSaying},
};

// After the results of tools DeepSeek's models say at once what they have to say.
// V3.1's template writes no outer pair.
constexpr std::string_view kAfterTools[] = {"<｜tool▁outputs▁end｜>", "<｜tool▁output▁end｜>"};

}  // namespace

Result<const ReasoningDialect*> find_reasoning_dialect(std::string_view name) {
  std::string names;
  for (const ReasoningDialect& dialect : kReasoningDialects) {
    if (dialect.name == name) return &dialect;
    names += names.empty() ? "" : ", ";
    names += dialect.name;
  }
  return invalid("'{}' is not a known reasoning parser (choose from auto, {})", name, names);
}

const ReasoningDialect& default_reasoning_dialect() {
  return **find_reasoning_dialect("deepseek-v3");
}

const ReasoningDialect* reasoning_dialect_of(std::string_view source) {
  const auto row = [](std::string_view name) { return *find_reasoning_dialect(name); };
  if (source.find("◁/think▷") != std::string_view::npos) return row("kimi");
  if (source.find("</think>") == std::string_view::npos) return nullptr;
  // A template with a switch opens or closes the thoughts as it is told.
  const bool has_switch = source.find("thinking") != std::string_view::npos;
  return row(has_switch ? "deepseek-v3" : "deepseek-r1");
}

bool starts_in_thoughts(const ReasoningDialect& dialect, std::string_view prompt,
                        std::string_view prefill, std::optional<bool> thinking) {
  const size_t opened = prefill.rfind(dialect.begin);
  const size_t closed = prefill.rfind(dialect.end);
  const auto none = std::string_view::npos;
  if (opened != none || closed != none) {
    return opened != none && (closed == none || opened > closed);
  }
  prompt.remove_suffix(prefill.size());
  prompt.remove_suffix(trailing_space(prompt));
  if (prompt.ends_with(dialect.begin)) return true;
  if (prompt.ends_with(dialect.end)) return false;
  for (const std::string_view end : kAfterTools) {
    if (prompt.ends_with(end)) return false;
  }
  switch (dialect.start) {
    case Start::kThinking:
      return true;
    case Start::kAsAsked:
      return thinking.value_or(false);
    case Start::kSaying:
      return false;
  }
  return false;
}

// Opening tags at the start of the answer; false: more text is needed to tell.
bool ReasoningParser::take_opening(Output& out) {
  for (;;) {
    const size_t space = leading_space(held_);
    if (space >= kMostSpace) return true;
    const std::string_view text = std::string_view(held_).substr(space);
    if (text.starts_with(dialect_->begin)) {
      const size_t size = space + dialect_->begin.size();
      if (keep_tags_) out.reasoning += held_.substr(0, size);
      held_.erase(0, size);
      inside_ = true;
      continue;
    }
    return !dialect_->begin.starts_with(text);
  }
}

ReasoningParser::Output ReasoningParser::push(std::string_view text) {
  Output out;
  held_ += text;
  if (at_start_) {
    if (!take_opening(out)) return out;
    at_start_ = false;
  }
  if (inside_) {
    if (const size_t end = held_.find(dialect_->end); end != std::string::npos) {
      const size_t after = end + dialect_->end.size();
      out.reasoning += held_.substr(0, keep_tags_ ? after : end);
      held_.erase(0, after);
      inside_ = false;
    } else {
      const size_t safe = held_.size() - held_back(held_, dialect_->end);
      out.reasoning += held_.substr(0, safe);
      held_.erase(0, safe);
    }
  }
  if (!inside_) out.content = std::exchange(held_, {});
  return out;
}

ReasoningParser::Output ReasoningParser::finish() {
  Output out;
  (inside_ ? out.reasoning : out.content) = std::exchange(held_, {});
  return out;
}

}  // namespace fathom
