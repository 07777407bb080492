// What crosses back from the engine thread to a connection, once per step in which the request got
// tokens, and once when it finishes. Plain values; text is made from them by the text layer.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace fathom {

struct TokenLogprob {
  std::optional<float> logprob;  // absent: nothing to condition on (first prompt token)
  int32_t id = 0;
};

// Logprobs of one position: the token that stands there, the most likely ones (descending, ties to
// the lower id), and the ones asked for by id (in the order asked).
struct PositionLogprobs {
  TokenLogprob token;
  std::vector<TokenLogprob> top;
  std::vector<TokenLogprob> chosen;
};

// Why a request ended (spec: http-api 10).
struct FinishReason {
  enum class Kind { kStop, kLength, kAbort };
  Kind kind = Kind::kStop;
  std::variant<std::monostate, int32_t, std::string> matched;  // kStop: token id or string
  int64_t length = 0;   // kLength: tokens generated
  std::string message;  // kAbort
  int status_code = 0;  // kAbort: HTTP status of an engine error, 0 for a plain abort

  static FinishReason stop_token(int32_t id) { return {.kind = Kind::kStop, .matched = id}; }
  static FinishReason stop_string(std::string s) {
    return {.kind = Kind::kStop, .matched = std::move(s)};
  }
  static FinishReason length_limit(int64_t n) { return {.kind = Kind::kLength, .length = n}; }
  static FinishReason abort(std::string why, int status = 0) {
    return {.kind = Kind::kAbort, .message = std::move(why), .status_code = status};
  }
  // By an administrator. Of an embedding there is no part that could be the answer.
  static FinishReason aborted(bool admitted, bool embed) {
    return abort(admitted ? "Aborted" : "Abort in waiting queue", embed ? 503 : 0);
  }
};

// The few tokens of one step, without an allocation.
struct TokenIds : boost::container::small_vector<int32_t, 8> {
  using small_vector::small_vector;
  TokenIds(const std::vector<int32_t>& ids) : small_vector(ids.begin(), ids.end()) {}
};

struct TokenEvent {
  TokenIds tokens;  // new since the last event, the final stop token included
  std::vector<PositionLogprobs> output_logprobs;  // one per token when asked for
  std::vector<PositionLogprobs> input_logprobs;   // on the first event only, from start_len on
  std::optional<FinishReason> finish;
  std::vector<float> embedding;  // [hidden] final hidden state of the last prompt token, if asked

  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;  // so far, this event included
  int32_t cached_tokens = 0;      // prompt tokens found in the prefix cache at admission
  int32_t retractions = 0;
  double queue_seconds = 0;  // arrival to first admission
};

}  // namespace fathom
