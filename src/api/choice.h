// The output of one sequence as it grows: tokens, text that may be shown, logprobs, and the end.
// Turns the engine's token events into text: detokenising, thoughts, stop strings, tool calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/answer_form.h"
#include "base/result.h"
#include "request/sampling_params.h"
#include "request/token_event.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"

namespace fathom::api {

class Choice {
 public:
  // With a form the text is also read into dialect events. Stop strings are looked for behind the
  // thoughts.
  Choice(std::shared_ptr<const Tokenizer> tokenizer, const SamplingParams& sampling,
         StopMatcher matcher, std::string rid, std::optional<AnswerForm> form = {});
  // For one sequence alone. kInvalid: a stop regex does not compile.
  static Result<Choice> create(std::shared_ptr<const Tokenizer> tokenizer,
                               const SamplingParams& sampling, std::string rid,
                               std::optional<AnswerForm> form = {});

  // Not after the end. When a stop string matches, the tokens behind it are dropped and the engine
  // must be told to stop (stopped_by_text()).
  void push(TokenEvent event);

  const std::string& rid() const { return rid_; }
  // What is said, calls as the model wrote them; without separated thoughts. Only grows.
  const std::string& text() const { return text_; }
  // The same and the thoughts, piece by piece; empty without a form. Only grows.
  const DialectEvents& events() const { return events_; }
  bool called_tools() const { return calls_ > 0; }
  // All of it, once finished. Calls whose arguments are no JSON objects are shown as content.
  GatheredOutput gathered() const;

  const std::vector<int32_t>& ids() const { return ids_; }
  int64_t completion_tokens() const { return static_cast<int64_t>(ids_.size()); }
  int64_t reasoning_tokens() const { return reasoning_tokens_; }  // the closing tag's included
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
  // Each passes text on to the next; true: the text ends here, finish_ is set.
  bool show(const std::string& decoded);
  bool say(const std::string& text);
  bool read_calls(const std::string& said);
  void think(std::string text, bool last = false);
  bool release_held();
  bool inside_thoughts() const { return thoughts_ && thoughts_->inside(); }

  Detokenizer detokenizer_;
  StopMatcher matcher_;
  bool keep_stop_;
  std::string rid_;
  std::optional<AnswerForm> form_;
  std::optional<ReasoningParser> thoughts_;
  std::optional<ToolCallParser> tool_calls_;

  std::string text_;
  DialectEvents events_;
  int32_t calls_ = 0;
  std::string held_thoughts_;  // until they end
  std::vector<int32_t> ids_;
  int64_t reasoning_tokens_ = 0;
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
