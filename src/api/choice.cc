#include "api/choice.h"

#include <algorithm>

#include "text/dialects/held_back.h"

namespace fathom::api {

using Kind = DialectEvent::Kind;

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

Result<Choice> Choice::create(std::shared_ptr<const Tokenizer> tokenizer,
                              const SamplingParams& sampling, std::string rid,
                              std::optional<AnswerForm> form) {
  StopMatcher matcher(TRY(StopSet::create(sampling.stop, sampling.stop_regex)));
  return Choice(std::move(tokenizer), sampling, std::move(matcher), std::move(rid),
                std::move(form));
}

Choice::Choice(std::shared_ptr<const Tokenizer> tokenizer, const SamplingParams& sampling,
               StopMatcher matcher, std::string rid, std::optional<AnswerForm> form)
    : detokenizer_(std::move(tokenizer), sampling.skip_special_tokens),
      matcher_(std::move(matcher)),
      keep_stop_(sampling.no_stop_trim),
      rid_(std::move(rid)),
      form_(std::move(form)) {
  if (form_ && form_->reasoning) {
    thoughts_.emplace(*form_->reasoning, form_->starts_in_thoughts, !form_->separate_reasoning);
  }
  if (form_ && form_->tools) tool_calls_.emplace(*form_->tools, form_->tool_names);
}

bool Choice::show(const std::string& decoded) {
  decoded_chars_ += count_characters(decoded);
  if (!thoughts_) return say(decoded);
  ReasoningParser::Output out = thoughts_->push(decoded);
  think(std::move(out.reasoning));
  return say(out.content);
}

// `last`: of the whole text.
void Choice::think(std::string text, bool last) {
  if (!form_->separate_reasoning) {
    text_ += text;
    if (!text.empty()) events_.push_back({Kind::kContent, std::move(text)});
    return;
  }
  held_thoughts_ += text;
  const bool due = form_->stream_reasoning || !thoughts_->inside() || last;
  if (held_thoughts_.empty() || !due) return;
  events_.push_back({Kind::kReasoning, std::exchange(held_thoughts_, {})});
}

bool Choice::say(const std::string& text) {
  if (text.empty()) return false;
  auto out = matcher_.push(text);
  if (read_calls(out.text)) return true;
  if (!out.matched) return false;
  if (keep_stop_ && read_calls(out.stop_text)) return true;
  finish_ = FinishReason::stop_string(*out.matched);
  stopped_by_text_ = true;
  if (tool_calls_) tool_calls_->finish(events_);
  return true;
}

bool Choice::read_calls(const std::string& said) {
  text_ += said;
  if (!form_ || said.empty()) return false;
  const size_t before = events_.size();
  if (!tool_calls_) {
    events_.push_back({Kind::kContent, said});
    return false;
  }
  tool_calls_->push(said, events_);
  for (size_t i = before; i < events_.size(); ++i) {
    calls_ += events_[i].kind == Kind::kCallBegin;
    if (events_[i].kind != Kind::kCallEnd || events_[i].call + 1 != form_->most_calls) continue;
    events_.resize(i + 1);
    finish_ = FinishReason{};
    stopped_by_text_ = true;
    return true;
  }
  return false;
}

// The text is over: what was held back because it might have become something else is text.
bool Choice::release_held() {
  if (show(detokenizer_.finish())) return true;
  if (thoughts_) {
    ReasoningParser::Output rest = thoughts_->finish();
    think(std::move(rest.reasoning), true);
    if (say(rest.content)) return true;
  }
  if (read_calls(matcher_.finish())) return true;
  if (tool_calls_) tool_calls_->finish(events_);
  return false;
}

void Choice::push(TokenEvent event) {
  prompt_tokens_ = event.prompt_tokens;
  cached_tokens_ = event.cached_tokens;
  retractions_ = event.retractions;
  queue_seconds_ = event.queue_seconds;
  if (!event.embedding.empty()) embedding_ = std::move(event.embedding);
  if (!event.input_logprobs.empty()) input_logprobs_ = std::move(event.input_logprobs);

  const bool by_token = event.finish && event.finish->kind == FinishReason::Kind::kStop &&
                        std::holds_alternative<int32_t>(event.finish->matched);
  for (size_t i = 0; i < event.tokens.size(); ++i) {
    const int32_t id = event.tokens[i];
    ids_.push_back(id);
    char_offsets_.push_back(decoded_chars_);
    if (i < event.output_logprobs.size()) {
      output_logprobs_.push_back(std::move(event.output_logprobs[i]));
    }
    const bool thought = inside_thoughts();
    const bool is_stop = by_token && i + 1 == event.tokens.size();
    const bool ended = (!is_stop || keep_stop_) && show(detokenizer_.push(id));
    if (thought || inside_thoughts()) reasoning_tokens_ = completion_tokens();
    if (ended) return;
  }
  if (!event.finish || release_held()) return;
  finish_ = std::move(event.finish);
}

GatheredOutput Choice::gathered() const {
  GatheredOutput out = gather(events_);
  if (out.calls.empty()) return out;
  if (!out.calls_are_sound()) {
    out.calls.clear();
    out.content = text_;
  } else {
    out.content.erase(0, leading_space(out.content));
  }
  return out;
}

double Choice::mean_logprob() const {
  double sum = 0;
  for (const auto& position : output_logprobs_) sum += position.token.logprob.value_or(0.0f);
  return output_logprobs_.empty() ? 0 : sum / static_cast<double>(output_logprobs_.size());
}

}  // namespace fathom::api
