// --enable-trace: a span per request with its phases, sent as OTLP/HTTP JSON (opentelemetry-proto
// 1.x, /v1/traces). A collector that is away costs nothing but its spans.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "server/telemetry/finished_request.h"

namespace fathom {

class TraceExporter {
 public:
  // host:port (path /v1/traces) or an http:// URL. Starts a thread.
  static Result<std::shared_ptr<TraceExporter>> open(const std::string& endpoint);
  // Sends what is queued, for at most some seconds.
  virtual ~TraceExporter() = default;
  // Any thread, never blocks; spans beyond a full queue are dropped. A request whose traceparent
  // says that it is not sampled is skipped.
  virtual void add(const FinishedRequest& request) = 0;
};

// The spans of one request; a random trace id unless `trace_parent` names one. Empty: not sampled.
OrderedJson spans_of(const FinishedRequest& request);

}  // namespace fathom
