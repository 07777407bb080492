#include "grammar/compiler.h"

#include "fathom_text.h"
#include "text/rust_call.h"

namespace fathom {
namespace {

const char* name_of(GrammarSpec::Kind kind) {
  switch (kind) {
    case GrammarSpec::Kind::kJsonSchema:
      return "json";
    case GrammarSpec::Kind::kRegex:
      return "regex";
    case GrammarSpec::Kind::kEbnf:
      return "ebnf";
    case GrammarSpec::Kind::kStructuralTag:
      return "structural_tag";
  }
  return "";
}

std::string key_of(const GrammarSpec& spec) {
  return fmt::format("{} {}", name_of(spec.kind), spec.text);
}

}  // namespace

Result<std::unique_ptr<GrammarCompiler>> GrammarCompiler::create(
    std::shared_ptr<const Tokenizer> tokenizer, int32_t vocab_size, std::vector<int32_t> end_tokens,
    GrammarOptions options) {
  if (!tokenizer->native()) {
    return fail(ErrorCode::kUnsupported, "grammars need the model's tokenizer");
  }
  std::unique_ptr<GrammarCompiler> compiler(new GrammarCompiler);
  const std::vector<uint32_t> ends(end_tokens.begin(), end_tokens.end());
  compiler->environment_ = rust<ft_grammar_prepare>(
      tokenizer->native(), static_cast<uint32_t>(vocab_size), ends.data(), ends.size(),
      options.json_whitespace.data(), options.json_whitespace.size(), options.compact_json,
      options.most_seconds);
  if (!compiler->environment_) return invalid("{}", rust_error());
  compiler->tokenizer_ = std::move(tokenizer);
  compiler->vocab_size_ = vocab_size;
  compiler->end_tokens_ = std::move(end_tokens);
  compiler->options_ = std::move(options);
  return compiler;
}

GrammarCompiler::~GrammarCompiler() {
  rust<ft_grammar_environment_free>(environment_);
}

std::shared_ptr<const Grammar> GrammarCompiler::find(const GrammarSpec& spec) {
  const std::string key = key_of(spec);
  std::lock_guard lock(mutex_);
  const auto it = index_.find(key);
  if (it == index_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, it->second);
  return it->second->grammar;
}

Result<std::shared_ptr<const Grammar>> GrammarCompiler::compile(const GrammarSpec& spec) {
  if (auto known = find(spec)) return known;
  ft_grammar_state* start = rust<ft_grammar_compile>(environment_, static_cast<uint32_t>(spec.kind),
                                                     spec.text.data(), spec.text.size());
  if (!start) return invalid("Failed to compile {} grammar: {}", name_of(spec.kind), rust_error());
  auto grammar = std::make_shared<const Grammar>(start, vocab_size_, end_tokens_);
  keep(key_of(spec), grammar);
  return grammar;
}

void GrammarCompiler::keep(std::string key, const std::shared_ptr<const Grammar>& grammar) {
  std::lock_guard lock(mutex_);
  if (index_.contains(key)) return;
  kept_.push_front({std::move(key), grammar});
  index_.emplace(kept_.front().key, kept_.begin());
  kept_bytes_ += kept_.front().key.size();
  while (kept_.size() > options_.most_kept ||
         (kept_bytes_ > options_.most_kept_bytes && kept_.size() > 1)) {
    kept_bytes_ -= kept_.back().key.size();
    index_.erase(kept_.back().key);
    kept_.pop_back();
  }
}

}  // namespace fathom
