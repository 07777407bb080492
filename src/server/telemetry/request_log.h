// --log-requests: one line when a request comes, one when its answer is sent.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/message.h"

namespace fathom {

enum class RequestLogLevel {
  kOff = -1,
  kMetadata = 0,  // method, path, size
  kSampling = 1,  // and the sampling parameters
  kPartial = 2,   // the body's first 2,048 characters
  kFull = 3,
};

// The `obj=` part of the line: one line of text whatever the body holds.
std::string describe_request(const http::Request& request, RequestLogLevel level);
// The `out=` part.
std::string describe_output(std::string_view output, RequestLogLevel level);

class RequestLog {
 public:
  struct Options {
    bool enabled = false;
    RequestLogLevel level = RequestLogLevel::kPartial;  // when enabled
    bool json = false;  // one JSON object per line: timestamp, event, obj, out
    // "stdout" is the server's log; anything else a folder, which gets requests-<pid>.log. Empty:
    // the log.
    std::vector<std::string> targets;
  };
  // Makes the folders; kInvalid when one cannot be written.
  static Result<std::unique_ptr<RequestLog>> open(Options options);
  ~RequestLog();

  // Any thread; /configure_logging changes both.
  void enable(bool on) { enabled_ = on; }
  void set_level(RequestLogLevel level) { level_ = level; }
  RequestLogLevel level() const { return enabled_ ? level_.load() : RequestLogLevel::kOff; }

  // Bytes of the answer that finished() wants to see.
  size_t wanted_output() const;
  void received(const http::Request& request) const;
  void finished(const http::Request& request, std::string_view output, int status,
                double seconds) const;

 private:
  RequestLog() = default;
  void write(const std::string& line) const;

  std::atomic<bool> enabled_{false};
  std::atomic<RequestLogLevel> level_{RequestLogLevel::kPartial};
  bool json_ = false;
  bool to_log_ = true;
  struct Files;
  std::unique_ptr<Files> files_;
};

}  // namespace fathom
