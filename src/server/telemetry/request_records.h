// Records of finished requests for people and scripts: a log line each, or a JSON line each in
// files.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "server/telemetry/finished_request.h"

namespace fathom {

// --enable-request-time-stats-logging: "Req Time Stats(rid=..., ...): queue_duration=1.20ms, ..."
std::string time_stats_line(const FinishedRequest& request);

// --export-metrics-to-file: <folder>/sglang-request-metrics-20250131_23.log, a new one every hour.
class MetricsFiles {
 public:
  // Makes the folder. kInvalid when it cannot be written.
  static Result<std::shared_ptr<MetricsFiles>> open(const std::filesystem::path& folder);
  virtual ~MetricsFiles() = default;
  virtual void write(const FinishedRequest& request) = 0;  // any thread
};

}  // namespace fathom
