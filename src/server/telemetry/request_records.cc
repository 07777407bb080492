#include "server/telemetry/request_records.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <mutex>

#include "base/json.h"

namespace fathom {
namespace {

std::string local_time(std::chrono::system_clock::time_point time, const char* format) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof(text), format, &parts);
  return text;
}

OrderedJson record_of(const FinishedRequest& r) {
  const double arrival = std::chrono::duration<double>(r.arrival.time_since_epoch()).count();
  return {{"timestamp", local_time(r.arrival, "%Y-%m-%dT%H:%M:%S")},
          {"rid", r.rid},
          {"path", r.path},
          {"stream", r.streaming},
          {"n", r.samples},
          {"finish_reason", r.finish_reason},
          {"prompt_tokens", r.prompt_tokens},
          {"cached_tokens", r.cached_tokens},
          {"completion_tokens", r.generated_tokens},
          {"request_received_ts", arrival},
          {"tokenize_latency", r.tokenize_seconds},
          {"queue_time", r.queue_seconds},
          {"time_to_first_token", r.first_token_seconds},
          {"e2e_latency", r.total_seconds}};
}

class HourlyFiles final : public MetricsFiles {
 public:
  explicit HourlyFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  Status check() {
    std::error_code ec;
    std::filesystem::create_directories(folder_, ec);
    std::lock_guard lock(mutex_);
    if (!follow(std::chrono::system_clock::now())) {
      return invalid("--export-metrics-to-file-dir {}: cannot be written", folder_.string());
    }
    return {};
  }
  void write(const FinishedRequest& request) override {
    const std::string line = json_text(record_of(request)) + "\n";
    std::lock_guard lock(mutex_);
    if (follow(std::chrono::system_clock::now())) file_ << line << std::flush;
  }

 private:
  bool follow(std::chrono::system_clock::time_point now) {
    const std::string hour = local_time(now, "%Y%m%d_%H");
    if (hour != hour_ || !file_) {
      hour_ = hour;
      file_ = std::ofstream(folder_ / ("sglang-request-metrics-" + hour + ".log"), std::ios::app);
    }
    return static_cast<bool>(file_);
  }

  const std::filesystem::path folder_;
  std::mutex mutex_;
  std::string hour_;
  std::ofstream file_;
};

}  // namespace

std::string time_stats_line(const FinishedRequest& r) {
  constexpr double kMs = 1e3;
  const double forward = std::max(r.total_seconds - r.tokenize_seconds - r.queue_seconds, 0.0);
  return fmt::format(
      "Req Time Stats(rid={}, input len={}, cached input len={}, output len={}, type=unified): "
      "tokenize_duration={:.2f}ms, queue_duration={:.2f}ms, forward_duration={:.2f}ms, "
      "time_to_first_token={:.2f}ms, e2e_duration={:.2f}ms, start_time={}",
      json_text(OrderedJson(r.rid)), r.prompt_tokens, r.cached_tokens, r.generated_tokens,
      r.tokenize_seconds * kMs, r.queue_seconds * kMs, forward * kMs, r.first_token_seconds * kMs,
      r.total_seconds * kMs, local_time(r.arrival, "%Y-%m-%d %H:%M:%S"));
}

Result<std::shared_ptr<MetricsFiles>> MetricsFiles::open(const std::filesystem::path& folder) {
  auto files = std::make_shared<HourlyFiles>(folder);
  TRY(files->check());
  return files;
}

}  // namespace fathom
