// Separates thoughts from what is said (spec: sampling-and-output 7). A new dialect is one row of
// the table in reasoning.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom {

struct ReasoningDialect {
  // Where an answer starts when the prompt does not tell.
  enum class Start {
    kThinking,  // in thoughts: the opening tag is optional
    kAsAsked,   // in thoughts if the template was told "thinking": true
    kSaying,    // in what is said: only the opening tag begins thoughts
  };
  std::string_view name;  // value of --reasoning-parser
  std::string_view begin, end;
  Start start = Start::kSaying;
};

// kInvalid lists the names.
Result<const ReasoningDialect*> find_reasoning_dialect(std::string_view name);
// DeepSeek's tags, for servers that were not told of a dialect.
const ReasoningDialect& default_reasoning_dialect();
// The dialect of a model by its chat template; null: it does not think.
const ReasoningDialect* reasoning_dialect_of(std::string_view template_source);

// Whether the answer to `prompt` begins in thoughts. `prefill`: the part of the prompt that the
// assistant has said already. A prompt that opens or closes thoughts decides; `thinking` is the
// template's argument of that name.
bool starts_in_thoughts(const ReasoningDialect& dialect, std::string_view prompt,
                        std::string_view prefill, std::optional<bool> thinking);

class ReasoningParser {
 public:
  // keep_tags: the tags stay in the reasoning, for answers that show both as one text.
  ReasoningParser(const ReasoningDialect& dialect, bool starts_inside, bool keep_tags = false)
      : dialect_(&dialect), keep_tags_(keep_tags), inside_(starts_inside) {}

  struct Output {
    std::string reasoning, content;  // in this order
  };
  Output push(std::string_view text);
  // End of text: releases what was held back because it might have become a tag.
  Output finish();
  // False: what follows is said, not thought.
  bool inside() const { return inside_; }

 private:
  bool take_opening(Output& out);

  const ReasoningDialect* dialect_;
  bool keep_tags_;
  bool inside_;
  bool at_start_ = true;  // nothing but opening tags and space so far
  std::string held_;
};

}  // namespace fathom
