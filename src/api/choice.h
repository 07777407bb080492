// The output of one sequence as it grows: tokens, text that may be shown, logprobs, and the end.
// Turns the engine's token events into text: detokenising, stop strings, hold-back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "request/sampling_params.h"
#include "request/token_event.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"

namespace fathom::api {

class Choice {
 public:
  // kInvalid: a stop regex does not compile.
  static Result<Choice> create(std::shared_ptr<const Tokenizer> tokenizer,
                               const SamplingParams& sampling, std::string rid);

  // Not after the end. When a stop string matches, the tokens behind it are dropped and the engine
  // must be told to stop (stopped_by_text()).
  void push(TokenEvent event);

  const std::string& rid() const { return rid_; }
  const std::string& text() const { return text_; }  // only grows
  const std::vector<int32_t>& ids() const { return ids_; }
  int64_t completion_tokens() const { return static_cast<int64_t>(ids_.size()); }
  // One per token, when asked for.
  const std::vector<PositionLogprobs>& output_logprobs() const { return output_logprobs_; }
  const std::vector<PositionLogprobs>& input_logprobs() const { return input_logprobs_; }
  // Characters of decoded text in front of token i.
  const std::vector<int64_t>& char_offsets() const { return char_offsets_; }
  // [hidden], of an embedding request that has ended.
  const std::vector<float>& embedding() const { return embedding_; }
  double mean_logprob() const;  // of the generated tokens; 0 when there are none

  const std::optional<FinishReason>& finish() const { return finish_; }
  bool stopped_by_text() const { return stopped_by_text_; }
  // Ended by an error of the engine, not by an abort.
  bool failed() const {
    return finish_ && finish_->kind == FinishReason::Kind::kAbort && finish_->status_code >= 400;
  }

  int32_t prompt_tokens() const { return prompt_tokens_; }
  int32_t cached_tokens() const { return cached_tokens_; }
  int32_t retractions() const { return retractions_; }
  double queue_seconds() const { return queue_seconds_; }

 private:
  Choice(Detokenizer detokenizer, StopMatcher matcher, bool keep_stop, std::string rid)
      : detokenizer_(std::move(detokenizer)),
        matcher_(std::move(matcher)),
        keep_stop_(keep_stop),
        rid_(std::move(rid)) {}
  bool show(std::string decoded);  // true: a stop string ended the text

  Detokenizer detokenizer_;
  StopMatcher matcher_;
  bool keep_stop_;
  std::string rid_;

  std::string text_;
  std::vector<int32_t> ids_;
  std::vector<PositionLogprobs> output_logprobs_, input_logprobs_;
  std::vector<int64_t> char_offsets_;
  std::vector<float> embedding_;
  int64_t decoded_chars_ = 0;
  std::optional<FinishReason> finish_;
  bool stopped_by_text_ = false;
  int32_t prompt_tokens_ = 0, cached_tokens_ = 0, retractions_ = 0;
  double queue_seconds_ = 0;
};

// Unicode characters in valid UTF-8.
int64_t count_characters(std::string_view text);

}  // namespace fathom::api
