#include "grammar/grammar.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "fathom_text.h"
#include "text/rust_call.h"

namespace fathom {

Grammar::~Grammar() {
  rust<ft_grammar_free>(start_);
}

bool Grammar::is_end(int32_t token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

Result<ft_grammar_state*> Grammar::clone_start() const {
  std::lock_guard lock(cloning_);
  ft_grammar_state* state = rust<ft_grammar_clone>(start_);
  if (!state) return fail(ErrorCode::kInternal, "grammar: {}", rust_error());
  return state;
}

Result<std::unique_ptr<GrammarState>> GrammarState::create(std::shared_ptr<const Grammar> grammar,
                                                           std::vector<int32_t> starts_after) {
  std::unique_ptr<GrammarState> state(new GrammarState(std::move(grammar)));
  state->state_ = TRY(state->grammar_->clone_start());
  state->starts_after_ = std::move(starts_after);
  if (state->starts_after_.empty()) state->bound_from_ = 0;
  return state;
}

GrammarState::~GrammarState() {
  rust<ft_grammar_free>(state_);
}

void GrammarState::compute_mask() {
  if (mask_known_ || !binds()) return;
  mask_known_ = true;
  mask_error_.clear();
  try {
    mask_.resize(static_cast<size_t>(grammar_->vocab_size() + 31) / 32);
    if (const auto forced = forced_tokens(); !forced.empty()) {
      std::fill(mask_.begin(), mask_.end(), 0);
      mask_[static_cast<size_t>(forced[0]) / 32] = 1u << (forced[0] % 32);
      return;
    }
    if (rust<ft_grammar_mask>(state_, mask_.data(), mask_.size()) != 0) mask_error_ = rust_error();
  } catch (const std::exception&) {  // on the mask worker's thread nobody would catch it
    mask_error_ = "out of memory";
  }
}

Result<std::span<const uint32_t>> GrammarState::mask() {
  if (!binds()) return std::span<const uint32_t>();
  compute_mask();
  if (!mask_error_.empty()) return invalid("The grammar cannot go on: {}", mask_error_);
  return std::span<const uint32_t>(mask_);
}

Status GrammarState::accept(int32_t token) {
  tokens_.push_back(token);
  if (!binds()) {
    const auto n = static_cast<ptrdiff_t>(starts_after_.size());
    if (std::ssize(tokens_) >= n && std::equal(tokens_.end() - n, tokens_.end(), starts_after_.begin())) {
      bound_from_ = tokens_.size();
    }
    return {};
  }
  mask_known_ = false;
  forced_known_ = forced_known_ && forced_used_ < forced_.size() && forced_[forced_used_] == token;
  if (forced_known_ && ++forced_used_ == forced_.size()) forced_known_ = false;
  if (grammar_->is_end(token)) {
    ended_ = true;
    return {};
  }
  const int done = rust<ft_grammar_accept>(state_, static_cast<uint32_t>(token));
  if (done < 0) return invalid("The grammar cannot go on after token {}: {}", token, rust_error());
  complete_ = done == 1;
  return {};
}

Status GrammarState::rollback(size_t tokens) {
  CHECK(tokens <= tokens_.size());
  if (tokens == 0) return {};
  const size_t left = tokens_.size() - tokens;
  size_t bound = binds() ? tokens_.size() - std::max(bound_from_, left) : 0;
  if (ended_ && bound > 0) --bound;  // the end token is not the parser's
  if (bound > 0 && rust<ft_grammar_rollback>(state_, bound) != 0) {
    return fail(ErrorCode::kInternal, "grammar: {}", rust_error());
  }
  tokens_.resize(left);
  if (!starts_after_.empty() && binds() && left < bound_from_) bound_from_ = kFree;
  complete_ = complete_ && bound == 0;
  ended_ = false;
  mask_known_ = false;
  forced_known_ = false;
  return {};
}

std::span<const int32_t> GrammarState::forced_tokens() {
  if (!binds() || complete()) return {};
  if (!std::exchange(forced_known_, true)) {
    forced_.clear();
    forced_used_ = 0;
    RustBuffer out;
    if (rust<ft_grammar_forced>(state_, out.out()) == 0) {
      forced_.resize(out.bytes().size() / sizeof(int32_t));
      std::copy_n(out.bytes().data(), out.bytes().size(), reinterpret_cast<char*>(forced_.data()));
    }
  }
  return std::span(forced_).subspan(forced_used_);
}

}  // namespace fathom
