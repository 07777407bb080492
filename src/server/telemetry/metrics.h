// Prometheus metrics under SGLang's names (spec: scheduler-and-cache 8). Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "server/info.h"
#include "server/telemetry/finished_request.h"

namespace fathom {

struct MetricsOptions {
  std::string model_name;                           // label of all
  std::map<std::string, std::string> extra_labels;  // --extra-metric-labels
  // Upper edges in seconds, ascending; empty: SGLang's.
  std::vector<double> first_token_buckets, inter_token_buckets, end_to_end_buckets;
};

class Metrics {
 public:
  explicit Metrics(const MetricsOptions& options);
  ~Metrics();

  void set_facts(const ModelFacts& facts);  // once, when loaded
  void first_token(double seconds);
  // `tokens` arrived together, `seconds` after the ones before them.
  void inter_token(double seconds, int64_t tokens);
  void finished(const FinishedRequest& request);  // of one prompt

  // A request asked for structured output.
  void structured_request();
  // One sequence's grammar: found among the compiled ones, or compiled in so many seconds, or given up.
  enum class GrammarFate { kFound, kCompiled, kRefused, kTimedOut };
  void grammar(GrammarFate fate, double seconds);
  // Requests that wait for a compilation: one more, one less.
  void grammar_waiting(int change);

  // Makes the counters of an endpoint exist before its first request.
  void http_known(std::string_view endpoint, std::string_view method);
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
