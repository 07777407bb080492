#include "api/choice.h"

#include <algorithm>

namespace fathom::api {

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

Result<Choice> Choice::create(std::shared_ptr<const Tokenizer> tokenizer,
                              const SamplingParams& sampling, std::string rid) {
  auto matcher = TRY(StopMatcher::create(sampling.stop, sampling.stop_regex));
  return Choice(Detokenizer(std::move(tokenizer), sampling.skip_special_tokens), std::move(matcher),
                sampling.no_stop_trim, std::move(rid));
}

bool Choice::show(std::string decoded) {
  if (decoded.empty()) return false;
  decoded_chars_ += count_characters(decoded);
  auto out = matcher_.push(decoded);
  text_ += out.text;
  if (!out.matched) return false;
  if (keep_stop_) text_ += out.stop_text;
  finish_ = FinishReason::stop_string(*out.matched);
  stopped_by_text_ = true;
  return true;
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
    const bool is_stop = by_token && i + 1 == event.tokens.size();
    if (is_stop && !keep_stop_) continue;
    if (show(detokenizer_.push(id))) return;
  }
  if (!event.finish) return;
  if (show(detokenizer_.finish())) return;
  text_ += matcher_.finish();
  finish_ = std::move(event.finish);
}

double Choice::mean_logprob() const {
  double sum = 0;
  for (const auto& position : output_logprobs_) sum += position.token.logprob.value_or(0.0f);
  return output_logprobs_.empty() ? 0 : sum / static_cast<double>(output_logprobs_.size());
}

}  // namespace fathom::api
