#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <mutex>

#include "server/process_usage.h"

namespace fathom {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::Registry;
using Buckets = Histogram::BucketBoundaries;

const Buckets kFirstToken = {.1, .2, .4, .6, .8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400};
const Buckets kPerToken = {.002, .004, .006, .008, .01, .015, .02, .025, .03, .035, .04, .06,
                           .08,  .1,   .2,   .4,   .6,  .8,   1,   2,    4,   6,    8};
const Buckets kEndToEnd = {.1, .2, .4, .6, .8,  1,   2,   4,   6,    8,    10,
                           20, 40, 60, 80, 100, 200, 400, 600, 1200, 1800, 2400};
const Buckets kQueue = {0, .001, .005, .01, .05, .1, .2, .5, 1,   2,   3,
                        4, 5,    10,   15,  20,  30, 40, 50, 100, 200, 400};

Buckets token_buckets() {
  Buckets edges = {100, 300, 500, 700, 1000, 1500};
  for (int edge = 2000; edge <= 10000; edge += 1000) edges.push_back(edge);
  for (int edge = 12500; edge <= 30000; edge += 2500) edges.push_back(edge);
  for (int edge : {35000, 40000, 60000, 80000}) edges.push_back(edge);
  for (int edge = 100000; edge <= 1000000; edge += 100000) edges.push_back(edge);
  return edges;
}

// A counter that follows a total kept elsewhere.
class FollowingCounter {
 public:
  explicit FollowingCounter(Counter& counter) : counter_(counter) {}
  void follow(double total) {
    if (total > counter_.Value()) counter_.Increment(total - counter_.Value());
  }

 private:
  Counter& counter_;
};

std::string known_method(std::string_view method) {
  constexpr std::array<std::string_view, 7> kKnown = {"GET",   "POST",    "PUT",   "HEAD",
                                                      "PATCH", "OPTIONS", "DELETE"};
  for (const auto known : kKnown) {
    if (method == known) return std::string(known);
  }
  return "other";
}

}  // namespace

struct Metrics::Impl {
  explicit Impl(const std::string& model_name)
      : model{{"model_name", model_name}},
        scheduler{{"model_name", model_name},
                  {"engine_type", "unified"},
                  {"tp_rank", "0"},
                  {"pp_rank", "0"},
                  {"moe_ep_rank", "0"}} {}

  Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge()
        .Name(std::string("sglang:") + name)
        .Help(help)
        .Register(registry)
        .Add(scheduler);
  }
  Counter& counter(const char* name, const char* help, Labels extra, const Labels& common) {
    extra.insert(common.begin(), common.end());
    return prometheus::BuildCounter()
        .Name(std::string("sglang:") + name)
        .Help(help)
        .Register(registry)
        .Add(extra);
  }
  Histogram& histogram(const char* name, const char* help, const Buckets& edges) {
    return prometheus::BuildHistogram()
        .Name(std::string("sglang:") + name)
        .Help(help)
        .Register(registry)
        .Add(model, edges);
  }

  Registry registry;
  const Labels model;
  const Labels scheduler;
  std::mutex scrape;  // one refresh at a time
  int32_t max_running = 0;

  // Scheduler state, refreshed at scrape time.
  Gauge& running = gauge("num_running_reqs", "Running requests");
  Gauge& queued = gauge("num_queue_reqs", "Requests in the waiting queue");
  Gauge& grammar_queued = gauge("num_grammar_queue_reqs", "Requests waiting for their grammar");
  Gauge& paused = gauge("num_paused_reqs", "Paused requests");
  Gauge& retracted = gauge("num_retracted_reqs", "Requests retracted since the start");
  Gauge& used_tokens = gauge("num_used_tokens", "Tokens held by running requests");
  Gauge& token_usage = gauge("token_usage", "Used share of the KV pool");
  Gauge& gen_throughput = gauge("gen_throughput", "Generated tokens per second");
  Gauge& cache_hit_rate = gauge("cache_hit_rate", "Prefix cache hit rate of the last prefill");
  Gauge& new_token_ratio = gauge("new_token_ratio", "Share of the output that is reserved");
  Gauge& utilization = gauge("utilization", "Running requests over their limit");
  Gauge& pool_tokens = gauge("max_total_num_tokens", "Tokens of the KV pool");
  Gauge& page_size = gauge("page_size", "Tokens per KV page");
  Gauge& pages = gauge("num_pages", "Pages of the KV pool");
  Gauge& context_len = gauge("context_len", "Longest context");
  Gauge& kv_available = gauge("kv_available_tokens", "Free tokens of the KV pool");
  Gauge& kv_evictable = gauge("kv_evictable_tokens", "Cached tokens that may be evicted");
  Gauge& kv_used = gauge("kv_used_tokens", "Tokens leased by requests");
  Gauge& weight_gb = gauge("weight_memory_usage_gb", "Memory of the weights");
  Gauge& kv_gb = gauge("kv_cache_memory_usage_gb", "Memory of the KV pool");
  Gauge& cuda_graph = gauge("is_cuda_graph", "Whether the last decode used a CUDA graph");
  Gauge& startup_seconds =
      prometheus::BuildGauge()
          .Name("sglang:startup_time_seconds")
          .Help("Time from the start of the process until it was ready")
          .Register(registry)
          .Add(Labels{{"model_name", model.at("model_name")}, {"phase", "total"}});

  FollowingCounter retractions{
      counter("num_retracted_requests_total", "Retractions", {}, scheduler)};
  FollowingCounter evicted{
      counter("evicted_tokens_total", "Tokens evicted from the prefix cache", {}, scheduler)};
  Family<Counter>& realtime_tokens = prometheus::BuildCounter()
                                         .Name("sglang:realtime_tokens_total")
                                         .Help("Tokens by how they came about, counted per step")
                                         .Register(registry);
  Labels with_mode(const char* mode) {
    Labels labels = scheduler;
    labels["mode"] = mode;
    return labels;
  }
  FollowingCounter computed{realtime_tokens.Add(with_mode("prefill_compute"))};
  FollowingCounter cached{realtime_tokens.Add(with_mode("prefill_cache"))};
  FollowingCounter decoded{realtime_tokens.Add(with_mode("decode"))};

  // Finished requests; index 1 is streaming.
  struct PerKind {
    Counter& requests;
    Counter& prompt_tokens;
    Counter& generated_tokens;
  };
  Family<Counter>& requests_family = prometheus::BuildCounter()
                                         .Name("sglang:num_requests_total")
                                         .Help("Requests finished")
                                         .Register(registry);
  Family<Counter>& prompt_family = prometheus::BuildCounter()
                                       .Name("sglang:prompt_tokens_total")
                                       .Help("Prompt tokens processed")
                                       .Register(registry);
  Family<Counter>& generation_family = prometheus::BuildCounter()
                                           .Name("sglang:generation_tokens_total")
                                           .Help("Tokens generated")
                                           .Register(registry);
  PerKind kind(const char* streaming) {
    Labels labels = model;
    labels["is_streaming"] = streaming;
    return {requests_family.Add(labels), prompt_family.Add(labels), generation_family.Add(labels)};
  }
  std::array<PerKind, 2> kinds = {kind("false"), kind("true")};
  Counter& cached_tokens = counter("cached_tokens_total", "Prompt tokens found in the prefix cache",
                                   {{"cache_source", "device"}}, model);
  Counter& aborted = counter("num_aborted_requests_total", "Requests aborted", {}, model);
  Counter& structured =
      counter("num_so_requests_total", "Requests with structured output", {}, model);

  Histogram& first_token =
      histogram("time_to_first_token_seconds", "Arrival to first token", kFirstToken);
  Histogram& inter_token =
      histogram("inter_token_latency_seconds", "Time between tokens", kPerToken);
  Histogram& older_inter_token =
      histogram("time_per_output_token_seconds", "Time between tokens (older name)", kPerToken);
  Histogram& per_output_token = histogram("request_time_per_output_token_seconds",
                                          "Mean time per output token of a request", kPerToken);
  Histogram& end_to_end =
      histogram("e2e_request_latency_seconds", "Arrival to last token", kEndToEnd);
  Histogram& queue_time = histogram("queue_time_seconds", "Arrival to first admission", kQueue);
  Histogram& prompt_lengths =
      histogram("prompt_tokens_histogram", "Prompt tokens per request", token_buckets());
  Histogram& uncached_lengths = histogram("uncached_prompt_tokens_histogram",
                                          "Computed prompt tokens per request", token_buckets());
  Histogram& generation_lengths =
      histogram("generation_tokens_histogram", "Generated tokens per request", token_buckets());

  Family<Counter>& http_requests = prometheus::BuildCounter()
                                       .Name("sglang:http_requests_total")
                                       .Help("HTTP requests received")
                                       .Register(registry);
  Family<Counter>& http_responses = prometheus::BuildCounter()
                                        .Name("sglang:http_responses_total")
                                        .Help("HTTP responses sent")
                                        .Register(registry);
  Family<Gauge>& http_active = prometheus::BuildGauge()
                                   .Name("sglang:http_requests_active")
                                   .Help("HTTP requests being answered")
                                   .Register(registry);

  Gauge& resident = prometheus::BuildGauge()
                        .Name("process_resident_memory_bytes")
                        .Help("Resident memory")
                        .Register(registry)
                        .Add({});
  Gauge& virtual_memory = prometheus::BuildGauge()
                              .Name("process_virtual_memory_bytes")
                              .Help("Virtual memory")
                              .Register(registry)
                              .Add({});
  Gauge& open_files = prometheus::BuildGauge()
                          .Name("process_open_fds")
                          .Help("Open file descriptors")
                          .Register(registry)
                          .Add({});
  FollowingCounter cpu_seconds{prometheus::BuildCounter()
                                   .Name("process_cpu_seconds_total")
                                   .Help("CPU time")
                                   .Register(registry)
                                   .Add({})};
};

Metrics::Metrics(const std::string& model_name) : impl_(std::make_unique<Impl>(model_name)) {}
Metrics::~Metrics() = default;

void Metrics::set_facts(const ModelFacts& facts) {
  constexpr double kGiB = 1 << 30;
  std::lock_guard lock(impl_->scrape);
  impl_->max_running = facts.max_running;
  impl_->pool_tokens.Set(static_cast<double>(facts.pool_tokens));
  impl_->page_size.Set(facts.page_size);
  impl_->pages.Set(static_cast<double>(facts.pool_tokens / std::max(1, facts.page_size)));
  impl_->context_len.Set(facts.context_length);
  impl_->weight_gb.Set(static_cast<double>(facts.weight_bytes) / kGiB);
  impl_->kv_gb.Set(static_cast<double>(facts.kv_bytes) / kGiB);
  impl_->startup_seconds.Set(facts.startup_seconds);
}

void Metrics::first_token(double seconds) {
  impl_->first_token.Observe(seconds);
}

void Metrics::inter_token(double seconds, int64_t tokens) {
  for (int64_t i = 0; i < tokens; ++i) {
    impl_->inter_token.Observe(seconds / static_cast<double>(tokens));
    impl_->older_inter_token.Observe(seconds / static_cast<double>(tokens));
  }
}

void Metrics::finished(const FinishedRequest& request) {
  const auto& kind = impl_->kinds[request.streaming ? 1 : 0];
  const auto prompt = static_cast<double>(request.prompt_tokens);
  const auto cached = static_cast<double>(request.cached_tokens);
  const auto generated = static_cast<double>(request.generated_tokens);
  kind.requests.Increment();
  kind.prompt_tokens.Increment(prompt);
  kind.generated_tokens.Increment(generated);
  impl_->cached_tokens.Increment(cached);
  if (request.aborted) impl_->aborted.Increment();
  impl_->end_to_end.Observe(request.total_seconds);
  impl_->queue_time.Observe(request.queue_seconds);
  impl_->prompt_lengths.Observe(prompt);
  impl_->uncached_lengths.Observe(prompt - cached);
  impl_->generation_lengths.Observe(generated);
  if (request.generated_tokens > 1) {
    impl_->per_output_token.Observe((request.total_seconds - request.first_token_seconds) /
                                    (generated - 1));
  }
}

void Metrics::http_began(std::string_view endpoint, std::string_view method) {
  const Labels labels = {{"endpoint", std::string(endpoint)}, {"method", known_method(method)}};
  impl_->http_requests.Add(labels).Increment();
  impl_->http_active.Add(labels).Increment();
}

void Metrics::http_ended(std::string_view endpoint, std::string_view method) {
  const Labels labels = {{"endpoint", std::string(endpoint)}, {"method", known_method(method)}};
  impl_->http_active.Add(labels).Decrement();
}

void Metrics::http_answered(std::string_view endpoint, std::string_view method, int status) {
  const Labels labels = {{"endpoint", std::string(endpoint)},
                         {"method", known_method(method)},
                         {"status_code", std::to_string(status)}};
  impl_->http_responses.Add(labels).Increment();
}

std::string Metrics::text(const EngineStats& stats) {
  std::lock_guard lock(impl_->scrape);
  impl_->running.Set(stats.running);
  impl_->queued.Set(stats.queued);
  impl_->retracted.Set(static_cast<double>(stats.retractions));
  impl_->used_tokens.Set(static_cast<double>(stats.used_tokens));
  impl_->token_usage.Set(stats.token_usage);
  impl_->gen_throughput.Set(stats.gen_throughput);
  impl_->cache_hit_rate.Set(stats.cache_hit_rate);
  impl_->new_token_ratio.Set(stats.new_token_ratio);
  impl_->utilization.Set(
      impl_->max_running > 0 ? static_cast<double>(stats.running) / impl_->max_running : 0);
  impl_->kv_available.Set(static_cast<double>(stats.available_tokens));
  impl_->kv_evictable.Set(static_cast<double>(stats.evictable_tokens));
  impl_->kv_used.Set(static_cast<double>(stats.used_tokens));
  impl_->retractions.follow(static_cast<double>(stats.retractions));
  impl_->evicted.follow(static_cast<double>(stats.evicted_tokens));
  impl_->computed.follow(static_cast<double>(stats.prefill_compute_tokens));
  impl_->cached.follow(static_cast<double>(stats.prefill_cache_tokens));
  impl_->decoded.follow(static_cast<double>(stats.decode_tokens));

  const ProcessUsage usage = process_usage();
  impl_->resident.Set(static_cast<double>(usage.resident_bytes));
  impl_->virtual_memory.Set(static_cast<double>(usage.virtual_bytes));
  impl_->open_files.Set(usage.open_files);
  impl_->cpu_seconds.follow(usage.cpu_seconds);
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace fathom
