// What is known of a client request when its last byte is on its way, and who wants to know it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace fathom {

// One client request, or one prompt of it, whatever its n. Times in seconds since it came.
struct FinishedRequest {
  std::string rid;            // of its first sequence
  std::string path;           // as sent: /v1/chat/completions
  std::string trace_parent;   // header traceparent, or empty
  std::string finish_reason;  // of its first sequence: stop, length, abort
  std::chrono::system_clock::time_point arrival;
  int64_t samples = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  bool streaming = false;
  bool aborted = false;
  double tokenize_seconds = 0;  // parsing, template, tokenising
  double queue_seconds = 0;     // in the engine, until first admitted
  double total_seconds = 0;
  double first_token_seconds = 0;  // 0: none came
};

// Called on the connection's executor; must not block for long.
using OnFinished = std::function<void(const FinishedRequest&)>;

}  // namespace fathom
