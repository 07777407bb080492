#include "server/telemetry/trace_exporter.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "base/log.h"
#include "http/client.h"
#include "server/version.h"

namespace fathom {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMostQueued = 8192;
constexpr size_t kMostPerPost = 512;
constexpr auto kBatchTime = 500ms;
constexpr auto kPostTime = 2s;
constexpr int kServerKind = 2;    // SPAN_KIND_SERVER
constexpr int kInternalKind = 1;  // SPAN_KIND_INTERNAL
constexpr int kError = 2;         // STATUS_CODE_ERROR

std::string random_hex(int bytes) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  std::string text;
  for (int i = 0; i < bytes; i += 8) text += fmt::format("{:016x}", random() | 1);
  return text;
}

// W3C trace context: 00-<trace id>-<parent span id>-<flags>.
struct TraceParent {
  std::string trace_id, span_id;
  bool sampled = true;
};
TraceParent parse_parent(std::string_view text) {
  const auto is_hex = [](std::string_view part) {
    return std::ranges::all_of(
        part, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  };
  const bool shaped = text.size() == 55 && text[2] == '-' && text[35] == '-' && text[52] == '-';
  if (!shaped || !is_hex(text.substr(3, 32)) || !is_hex(text.substr(36, 16)) ||
      !is_hex(text.substr(53))) {
    return {.trace_id = random_hex(16), .span_id = "", .sampled = true};
  }
  const int last_digit = text[54] <= '9' ? text[54] - '0' : text[54] - 'a' + 10;
  return {std::string(text.substr(3, 32)), std::string(text.substr(36, 16)), (last_digit & 1) != 0};
}

OrderedJson attribute(std::string key, const std::string& value) {
  return {{"key", std::move(key)}, {"value", {{"stringValue", value}}}};
}
OrderedJson attribute(std::string key, int64_t value) {
  return {{"key", std::move(key)}, {"value", {{"intValue", std::to_string(value)}}}};
}
OrderedJson attribute(std::string key, double value) {
  return {{"key", std::move(key)}, {"value", {{"doubleValue", value}}}};
}

std::string nanoseconds(std::chrono::system_clock::time_point arrival, double seconds) {
  const auto start =
      std::chrono::duration_cast<std::chrono::nanoseconds>(arrival.time_since_epoch());
  return std::to_string(start.count() + static_cast<int64_t>(seconds * 1e9));
}

OrderedJson payload_of(OrderedJson spans) {
  const OrderedJson service =
      OrderedJson::array({attribute("service.name", std::string("fathom"))});
  return {{"resourceSpans",
           OrderedJson::array(
               {{{"resource", {{"attributes", service}}},
                 {"scopeSpans",
                  OrderedJson::array({{{"scope", {{"name", "fathom"}, {"version", kVersion}}},
                                       {"spans", std::move(spans)}}})}}})}};
}

class OtlpExporter final : public TraceExporter {
 public:
  explicit OtlpExporter(http::Url url) : url_(std::move(url)), thread_([this] { run(); }) {}
  ~OtlpExporter() override {
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void add(const FinishedRequest& request) override {
    std::lock_guard lock(mutex_);
    if (queue_.size() < kMostQueued) queue_.push_back(request);
    if (queue_.size() == 1 || queue_.size() >= kMostPerPost) wake_.notify_all();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      wake_.wait_for(lock, kBatchTime, [this] { return ending_ || queue_.size() >= kMostPerPost; });
      if (queue_.empty()) return;
      std::vector<FinishedRequest> batch;
      while (!queue_.empty() && batch.size() < kMostPerPost) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      lock.unlock();
      const bool sent = send(batch);
      lock.lock();
      if (ending_ && !sent) return;
    }
  }

  bool send(const std::vector<FinishedRequest>& batch) {
    OrderedJson spans = OrderedJson::array();
    for (const FinishedRequest& request : batch) {
      for (OrderedJson& span : spans_of(request)) spans.push_back(std::move(span));
    }
    if (spans.empty()) return true;
    const auto status =
        http::post(url_, "application/json", json_text(payload_of(std::move(spans))), kPostTime);
    const bool good = status && *status / 100 == 2;
    if (good != reachable_) {  // once per change
      if (good) {
        log::info("Traces arrive again at {}:{}.", url_.host, url_.port);
      } else {
        log::warn("Traces are lost: {}:{}{} {}", url_.host, url_.port, url_.path,
                  status ? fmt::format("answers {}", *status) : status.error().message);
      }
    }
    reachable_ = good;
    return good;
  }

  const http::Url url_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<FinishedRequest> queue_;
  bool ending_ = false;
  bool reachable_ = true;  // exporter thread only
  std::thread thread_;
};

}  // namespace

OrderedJson spans_of(const FinishedRequest& r) {
  const TraceParent parent = parse_parent(r.trace_parent);
  OrderedJson spans = OrderedJson::array();
  if (!parent.sampled) return spans;
  const std::string root = random_hex(8);
  const auto add = [&](std::string name, int kind, const std::string& id,
                       const std::string& parent_id, double start, double end) -> OrderedJson& {
    spans.push_back({{"traceId", parent.trace_id},
                     {"spanId", id},
                     {"parentSpanId", parent_id},
                     {"name", std::move(name)},
                     {"kind", kind},
                     {"startTimeUnixNano", nanoseconds(r.arrival, start)},
                     {"endTimeUnixNano", nanoseconds(r.arrival, std::max(start, end))}});
    return spans.back();
  };
  OrderedJson& request =
      add("POST " + r.path, kServerKind, root, parent.span_id, 0, r.total_seconds);
  request["attributes"] =
      OrderedJson::array({attribute("rid", r.rid), attribute("gen_ai.request.n", r.samples),
                          attribute("gen_ai.usage.prompt_tokens", r.prompt_tokens),
                          attribute("gen_ai.usage.cached_tokens", r.cached_tokens),
                          attribute("gen_ai.usage.completion_tokens", r.generated_tokens),
                          attribute("gen_ai.response.finish_reason", r.finish_reason),
                          attribute("gen_ai.latency.time_in_queue", r.queue_seconds),
                          attribute("gen_ai.latency.time_to_first_token", r.first_token_seconds),
                          attribute("gen_ai.latency.e2e", r.total_seconds)});
  if (r.aborted) request["status"] = {{"code", kError}};

  const double submitted = r.tokenize_seconds;
  const double admitted = submitted + r.queue_seconds;
  const double first = r.first_token_seconds > 0 ? r.first_token_seconds : r.total_seconds;
  add("tokenize", kInternalKind, random_hex(8), root, 0, submitted);
  add("prefill_waiting", kInternalKind, random_hex(8), root, submitted, admitted);
  add("prefill_forward", kInternalKind, random_hex(8), root, admitted, first);
  if (r.first_token_seconds > 0) {
    add("decode_forward", kInternalKind, random_hex(8), root, first, r.total_seconds);
  }
  return spans;
}

Result<std::shared_ptr<TraceExporter>> TraceExporter::open(const std::string& endpoint) {
  auto url = http::parse_url(endpoint, {.host = "", .port = 4318, .path = "/v1/traces"});
  if (!url) return invalid("--otlp-traces-endpoint {}", url.error().message);
  return std::make_shared<OtlpExporter>(std::move(*url));
}

}  // namespace fathom
