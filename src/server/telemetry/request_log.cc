#include "server/telemetry/request_log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <mutex>

#include "base/json.h"
#include "base/log.h"

namespace fathom {
namespace {

constexpr size_t kPartialBytes = 2048;
constexpr size_t kParsedBytes = 1u << 20;  // larger bodies would hold up the I/O thread

std::string shown(std::string_view text, RequestLogLevel level) {
  const bool cut = level < RequestLogLevel::kFull && text.size() > kPartialBytes;
  return std::string(cut ? text.substr(0, kPartialBytes) : text);
}

// As a JSON string: quotes, line breaks and broken UTF-8 cannot leave the line.
std::string quoted(std::string_view text, RequestLogLevel level) {
  const std::string part = shown(text, level);
  return json_text(OrderedJson(part)) +
         (part.size() < text.size() ? fmt::format("... ({} bytes)", text.size()) : "");
}

// Printing recurses, so what clients nest deeper than any real field is left out.
bool nests_at_most(const Json& json, int depth) {
  if (!json.is_structured()) return true;
  return depth > 0 && std::ranges::all_of(json, [depth](const Json& child) {
           return nests_at_most(child, depth - 1);
         });
}

// Fields that steer sampling, from a body that may be anything.
OrderedJson sampling_fields(const std::string& body) {
  OrderedJson found = OrderedJson::object();
  if (body.size() > kParsedBytes) return found;
  const auto json = parse_json_object(body, "body");
  if (!json) return found;
  for (const char* name : {"sampling_params", "max_tokens", "max_completion_tokens", "temperature",
                           "top_p", "top_k", "min_p", "n", "stop", "seed", "stream", "logprobs"}) {
    const auto field = json->find(name);
    if (field != json->end() && nests_at_most(*field, 4)) found[name] = *field;
  }
  return found;
}

OrderedJson json_record(std::string_view event, const http::Request& request,
                        RequestLogLevel level) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  OrderedJson object = {{"method", request.method},
                        {"target", request.target},
                        {"client", request.remote},
                        {"bytes", request.body.size()}};
  if (level >= RequestLogLevel::kSampling)
    object["sampling_params"] = sampling_fields(request.body);
  if (level >= RequestLogLevel::kPartial) object["body"] = shown(request.body, level);
  return {{"timestamp", now.count()}, {"event", event}, {"obj", std::move(object)}};
}

}  // namespace

std::string describe_request(const http::Request& request, RequestLogLevel level) {
  std::string out = fmt::format("{} {} from {}, {} bytes", request.method, request.target,
                                request.remote, request.body.size());
  if (level == RequestLogLevel::kSampling) {
    out += ", sampling=" + json_text(sampling_fields(request.body));
  } else if (level >= RequestLogLevel::kPartial) {
    out += ", body=" + quoted(request.body, level);
  }
  return out;
}

std::string describe_output(std::string_view output, RequestLogLevel level) {
  if (level < RequestLogLevel::kPartial) return fmt::format("{} bytes", output.size());
  return quoted(output, level);
}

struct RequestLog::Files {
  std::mutex mutex;
  std::vector<std::ofstream> files;
  bool lost = false;  // the last line
};

RequestLog::~RequestLog() = default;

Result<std::unique_ptr<RequestLog>> RequestLog::open(Options options) {
  std::unique_ptr<RequestLog> log(new RequestLog);
  log->enabled_ = options.enabled;
  log->level_ = options.level;
  log->json_ = options.json;
  log->to_log_ = options.targets.empty();
  log->files_ = std::make_unique<Files>();
  for (const std::string& target : options.targets) {
    if (target == "stdout") {
      log->to_log_ = true;
      continue;
    }
    const std::filesystem::path folder(target);
    std::error_code ec;
    std::filesystem::create_directories(folder, ec);
    std::ofstream file(folder / fmt::format("requests-{}.log", getpid()), std::ios::app);
    if (!file) return invalid("--log-requests-target {}: not a folder that can be written", target);
    log->files_->files.push_back(std::move(file));
  }
  return log;
}

size_t RequestLog::wanted_output() const {
  const RequestLogLevel level = this->level();
  if (level < RequestLogLevel::kPartial) return 0;
  return level == RequestLogLevel::kPartial ? 2 * kPartialBytes
                                            : std::numeric_limits<size_t>::max();
}

void RequestLog::received(const http::Request& request) const {
  const RequestLogLevel level = this->level();
  if (level == RequestLogLevel::kOff) return;
  write(json_ ? json_text(json_record("request.received", request, level))
              : fmt::format("Receive: obj={}", describe_request(request, level)));
}

void RequestLog::finished(const http::Request& request, std::string_view output, int status,
                          double seconds) const {
  const RequestLogLevel level = this->level();
  if (level == RequestLogLevel::kOff) return;
  if (!json_) {
    write(fmt::format("Finish: obj={}, out={}", describe_request(request, level),
                      describe_output(output, level)));
    return;
  }
  OrderedJson record = json_record("request.finished", request, level);
  record["status"] = status;
  record["e2e_latency"] = seconds;
  if (level >= RequestLogLevel::kPartial) record["out"] = shown(output, level);
  write(json_text(record));
}

void RequestLog::write(const std::string& line) const {
  if (to_log_) log::info("{}", line);
  if (files_->files.empty()) return;
  std::lock_guard lock(files_->mutex);
  bool lost = false;
  for (std::ofstream& file : files_->files) {
    file.clear();  // the disk may have been full, and have room again
    file << line << '\n' << std::flush;
    lost |= !file;
  }
  if (lost && !files_->lost) log::warn("--log-requests-target: lines are lost: disk full?");
  files_->lost = lost;
}

}  // namespace fathom
