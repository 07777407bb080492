// Prometheus metrics under SGLang's names (spec: scheduler-and-cache 8). Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "server/info.h"

namespace fathom {

// One finished client request, whatever its n.
struct FinishedRequest {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  bool streaming = false;
  bool aborted = false;
  double queue_seconds = 0;
  double total_seconds = 0;
  double first_token_seconds = 0;  // 0: none came
};

class Metrics {
 public:
  explicit Metrics(const std::string& model_name);
  ~Metrics();

  void set_facts(const ModelFacts& facts);  // once, when loaded
  void first_token(double seconds);
  // `tokens` arrived together, `seconds` after the ones before them.
  void inter_token(double seconds, int64_t tokens);
  void finished(const FinishedRequest& request);

  // `endpoint` comes from endpoint_label(); methods that we do not know are counted as "other".
  void http_began(std::string_view endpoint, std::string_view method);
  void http_ended(std::string_view endpoint, std::string_view method);
  void http_answered(std::string_view endpoint, std::string_view method, int status);

  // Prometheus text 0.0.4, with gauges as of `stats`.
  std::string text(const EngineStats& stats);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
