#include "server/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "base/units.h"
#include "server/telemetry/process_usage.h"

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
const Buckets kStage = {.001, .005, .01, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 200, 400};
const Buckets kGrammar = {0, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60, 90, 120, 240};
const Buckets kEviction(DurationCounts::kEdges.begin(), DurationCounts::kEdges.end());
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

const Buckets& chosen(const std::vector<double>& given, const Buckets& otherwise) {
  return given.empty() ? otherwise : given;
}

// A histogram that follows counts kept elsewhere.
class FollowingHistogram {
 public:
  explicit FollowingHistogram(Histogram& histogram) : histogram_(histogram) {}
  void follow(const DurationCounts& now) {
    std::vector<double> more(now.counts.size());
    for (size_t i = 0; i < more.size(); ++i) {
      more[i] = static_cast<double>(now.counts[i] - seen_.counts[i]);
    }
    histogram_.ObserveMultiple(more, now.seconds - seen_.seconds);
    seen_ = now;
  }

 private:
  Histogram& histogram_;
  DurationCounts seen_;
};

Labels with(Labels labels, const std::map<std::string, std::string>& more) {
  labels.insert(more.begin(), more.end());
  return labels;
}

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
  explicit Impl(const MetricsOptions& o)
      : options(o),
        model(with({{"model_name", o.model_name}}, o.extra_labels)),
        scheduler(with(
            {{"engine_type", "unified"}, {"tp_rank", "0"}, {"pp_rank", "0"}, {"moe_ep_rank", "0"}},
            model)) {}

  Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge()
        .Name(std::string("sglang:") + name)
        .Help(help)
        .Register(registry)
        .Add(scheduler);
  }
  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter()
        .Name(std::string("sglang:") + name)
        .Help(help)
        .Register(registry);
  }
  Counter& counter(const char* name, const char* help, const Labels& extra, const Labels& common) {
    return counters(name, help).Add(with(extra, common));
  }
  Histogram& histogram(const char* name, const char* help, const Buckets& edges) {
    return prometheus::BuildHistogram()
        .Name(std::string("sglang:") + name)
        .Help(help)
        .Register(registry)
        .Add(model, edges);
  }

  const MetricsOptions options;
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
  Gauge& startup_seconds = prometheus::BuildGauge()
                               .Name("sglang:startup_time_seconds")
                               .Help("Time from the start of the process until it was ready")
                               .Register(registry)
                               .Add(with({{"phase", "total"}}, model));
  Gauge& startup_memory =
      gauge("startup_available_gpu_memory_gb", "Memory available after loading");
  Gauge& context_sum = gauge("decode_sum_seq_lens", "Tokens of all running requests together");
  Gauge& accept_length = gauge("spec_accept_length", "Tokens accepted per speculation");
  Gauge& accept_rate = gauge("spec_accept_rate", "Share of drafted tokens that was accepted");

  FollowingCounter retractions{
      counter("num_retracted_requests_total", "Retractions", {}, scheduler)};
  FollowingCounter evicted{
      counter("evicted_tokens_total", "Tokens evicted from the prefix cache", {}, scheduler)};
  FollowingCounter retracted_input{counter("num_retracted_input_tokens_total",
                                           "Prompt tokens of retracted requests", {}, scheduler)};
  FollowingCounter retracted_output{counter("num_retracted_output_tokens_total",
                                            "Generated tokens of retracted requests", {},
                                            scheduler)};
  FollowingCounter idle_seconds{
      counter("scheduler_idle_seconds_total", "Time without any request", {}, scheduler)};
  FollowingHistogram evictions{
      histogram("eviction_duration_seconds", "Time to evict cached prefixes", kEviction)};
  Family<Counter>& forward_seconds =
      counters("forward_execution_seconds_total", "Time in forward passes, by what they computed");
  FollowingCounter prefill_seconds{forward_seconds.Add(with({{"category", "extend"}}, scheduler))};
  FollowingCounter decode_seconds{forward_seconds.Add(with({{"category", "decode"}}, scheduler))};
  FollowingCounter mixed_seconds{forward_seconds.Add(with({{"category", "mixed"}}, scheduler))};
  // There are no CUDA graphs: all passes are counted under "none".
  Family<Counter>& passes =
      counters("cuda_graph_passes_total", "Forward passes with and without a CUDA graph");
  FollowingCounter decode_passes{passes.Add(with_mode("decode_none"))};
  FollowingCounter prefill_passes{passes.Add(with_mode("prefill_none"))};
  FollowingCounter graph_passes{passes.Add(with_mode("decode_cuda_graph"))};
  Family<Counter>& effective_tokens =
      counters("prefill_effective_tokens_total",
               "Prompt tokens without those that retractions made necessary again");
  FollowingCounter effective_computed{effective_tokens.Add(with_mode("prefill_compute"))};
  FollowingCounter effective_cached{effective_tokens.Add(with_mode("prefill_cache"))};
  Family<Counter>& realtime_tokens =
      counters("realtime_tokens_total", "Tokens by how they came about, counted per step");
  Labels with_mode(const char* mode) { return with({{"mode", mode}}, scheduler); }
  FollowingCounter computed{realtime_tokens.Add(with_mode("prefill_compute"))};
  FollowingCounter cached{realtime_tokens.Add(with_mode("prefill_cache"))};
  FollowingCounter decoded{realtime_tokens.Add(with_mode("decode"))};

  // Finished requests; index 1 is streaming.
  struct PerKind {
    Counter& requests;
    Counter& prompt_tokens;
    Counter& generated_tokens;
  };
  Family<Counter>& requests_family = counters("num_requests_total", "Requests finished");
  Family<Counter>& prompt_family = counters("prompt_tokens_total", "Prompt tokens processed");
  Family<Counter>& generation_family = counters("generation_tokens_total", "Tokens generated");
  PerKind kind(const char* streaming) {
    const Labels labels = with({{"is_streaming", streaming}}, model);
    return {requests_family.Add(labels), prompt_family.Add(labels), generation_family.Add(labels)};
  }
  std::array<PerKind, 2> kinds = {kind("false"), kind("true")};
  Counter& cached_tokens = counter("cached_tokens_total", "Prompt tokens found in the prefix cache",
                                   {{"cache_source", "device"}}, model);
  Counter& aborted = counter("num_aborted_requests_total", "Requests aborted", {}, model);
  Counter& structured =
      counter("num_so_requests_total", "Requests with structured output", {}, model);
  Counter& verify_calls =
      counter("spec_verify_calls_total", "Verifications of drafted tokens", {}, model);
  Counter& grammars = counter("num_grammar_total", "Grammars asked for", {}, scheduler);
  Counter& grammar_hits =
      counter("num_grammar_cache_hit_total", "Grammars found compiled", {}, scheduler);
  Counter& grammars_aborted =
      counter("num_grammar_aborted_total", "Grammars given up", {}, scheduler);
  Counter& grammar_timeouts =
      counter("num_grammar_timeout_total", "Grammars that took too long to compile", {}, scheduler);
  Histogram& grammar_seconds =
      histogram("grammar_compilation_time_seconds", "Time to compile a grammar", kGrammar);

  Histogram& first_token = histogram("time_to_first_token_seconds", "Arrival to first token",
                                     chosen(options.first_token_buckets, kFirstToken));
  Histogram& inter_token = histogram("inter_token_latency_seconds", "Time between tokens",
                                     chosen(options.inter_token_buckets, kPerToken));
  Histogram& older_inter_token =
      histogram("time_per_output_token_seconds", "Time between tokens (older name)",
                chosen(options.inter_token_buckets, kPerToken));
  Histogram& per_output_token = histogram("request_time_per_output_token_seconds",
                                          "Mean time per output token of a request", kPerToken);
  Histogram& end_to_end = histogram("e2e_request_latency_seconds", "Arrival to last token",
                                    chosen(options.end_to_end_buckets, kEndToEnd));
  Histogram& queue_time = histogram("queue_time_seconds", "Arrival to first admission", kQueue);
  Histogram& prompt_lengths =
      histogram("prompt_tokens_histogram", "Prompt tokens per request", token_buckets());
  Histogram& uncached_lengths = histogram("uncached_prompt_tokens_histogram",
                                          "Computed prompt tokens per request", token_buckets());
  Histogram& generation_lengths =
      histogram("generation_tokens_histogram", "Generated tokens per request", token_buckets());

  Family<Histogram>& stages = prometheus::BuildHistogram()
                                  .Name("sglang:per_stage_req_latency_seconds")
                                  .Help("Time of a request in each stage")
                                  .Register(registry);
  Histogram& stage(const char* name) { return stages.Add(with({{"stage", name}}, model), kStage); }
  Histogram& tokenize_stage = stage("tokenize");
  Histogram& waiting_stage = stage("prefill_waiting");
  Histogram& prefill_stage = stage("prefill_forward");
  Histogram& decode_stage = stage("decode_forward");

  Family<Counter>& http_requests = counters("http_requests_total", "HTTP requests received");
  Family<Counter>& http_responses = counters("http_responses_total", "HTTP responses sent");
  Labels http_labels(std::string_view endpoint, std::string_view method) {
    return with({{"endpoint", std::string(endpoint)}, {"method", known_method(method)}},
                options.extra_labels);
  }
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

Metrics::Metrics(const MetricsOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Metrics::~Metrics() = default;

void Metrics::set_facts(const ModelFacts& facts) {
  std::lock_guard lock(impl_->scrape);
  impl_->max_running = facts.max_running;
  impl_->pool_tokens.Set(static_cast<double>(facts.pool_tokens));
  impl_->page_size.Set(facts.page_size);
  impl_->pages.Set(static_cast<double>(facts.pool_tokens / std::max(1, facts.page_size)));
  impl_->context_len.Set(facts.context_length);
  impl_->weight_gb.Set(static_cast<double>(facts.weight_bytes) / kGiB);
  impl_->kv_gb.Set(static_cast<double>(facts.kv_bytes) / kGiB);
  impl_->startup_seconds.Set(facts.startup_seconds);
  impl_->startup_memory.Set(static_cast<double>(facts.available_bytes) / kGiB);
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
  if (request.aborted) impl_->aborted.Increment();
  // Refused or given up before a token came: it has no lengths and no latencies.
  if (request.aborted && request.generated_tokens == 0) return;
  const auto& kind = impl_->kinds[request.streaming ? 1 : 0];
  const auto prompt = static_cast<double>(request.prompt_tokens);
  const auto cached = static_cast<double>(request.cached_tokens);
  const auto generated = static_cast<double>(request.generated_tokens);
  kind.requests.Increment();
  kind.prompt_tokens.Increment(prompt);
  kind.generated_tokens.Increment(generated);
  impl_->cached_tokens.Increment(cached);
  impl_->end_to_end.Observe(request.total_seconds);
  impl_->queue_time.Observe(request.queue_seconds);
  impl_->prompt_lengths.Observe(prompt);
  impl_->uncached_lengths.Observe(prompt - cached);
  impl_->generation_lengths.Observe(generated);
  impl_->tokenize_stage.Observe(request.tokenize_seconds);
  impl_->waiting_stage.Observe(request.queue_seconds);
  if (request.first_token_seconds > 0) {
    impl_->prefill_stage.Observe(std::max(
        request.first_token_seconds - request.tokenize_seconds - request.queue_seconds, 0.0));
    impl_->decode_stage.Observe(request.total_seconds - request.first_token_seconds);
  }
  if (request.generated_tokens > 1) {
    impl_->per_output_token.Observe((request.total_seconds - request.first_token_seconds) /
                                    (generated - 1));
  }
}

void Metrics::structured_request() {
  impl_->structured.Increment();
}

void Metrics::grammar(GrammarFate fate, double seconds) {
  impl_->grammars.Increment();
  if (fate == GrammarFate::kFound) return impl_->grammar_hits.Increment();
  if (fate == GrammarFate::kCompiled) return impl_->grammar_seconds.Observe(seconds);
  impl_->grammars_aborted.Increment();
  if (fate == GrammarFate::kTimedOut) impl_->grammar_timeouts.Increment();
}

void Metrics::grammar_waiting(int change) {
  change > 0 ? impl_->grammar_queued.Increment() : impl_->grammar_queued.Decrement();
}

void Metrics::http_known(std::string_view endpoint, std::string_view method) {
  const Labels labels = impl_->http_labels(endpoint, method);
  impl_->http_requests.Add(labels);
  impl_->http_active.Add(labels);
  impl_->http_responses.Add(with({{"status_code", "200"}}, labels));
}

void Metrics::http_began(std::string_view endpoint, std::string_view method) {
  const Labels labels = impl_->http_labels(endpoint, method);
  impl_->http_requests.Add(labels).Increment();
  impl_->http_active.Add(labels).Increment();
}

void Metrics::http_ended(std::string_view endpoint, std::string_view method) {
  impl_->http_active.Add(impl_->http_labels(endpoint, method)).Decrement();
}

void Metrics::http_answered(std::string_view endpoint, std::string_view method, int status) {
  impl_->http_responses
      .Add(with({{"status_code", std::to_string(status)}}, impl_->http_labels(endpoint, method)))
      .Increment();
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
  impl_->paused.Set(stats.paused ? stats.running + stats.queued : 0);
  impl_->context_sum.Set(static_cast<double>(stats.context_tokens));
  impl_->retracted_input.follow(static_cast<double>(stats.retracted_input_tokens));
  impl_->retracted_output.follow(static_cast<double>(stats.retracted_output_tokens));
  impl_->idle_seconds.follow(stats.idle_seconds);
  impl_->evictions.follow(stats.evictions);
  impl_->effective_computed.follow(static_cast<double>(stats.first_prefill_compute_tokens));
  impl_->effective_cached.follow(static_cast<double>(stats.prefill_cache_tokens));
  impl_->prefill_seconds.follow(stats.prefill_passes.seconds);
  impl_->decode_seconds.follow(stats.decode_passes.seconds);
  impl_->mixed_seconds.follow(stats.mixed_passes.seconds);
  impl_->decode_passes.follow(static_cast<double>(stats.decode_passes.count));
  impl_->prefill_passes.follow(
      static_cast<double>(stats.prefill_passes.count + stats.mixed_passes.count));

  const ProcessUsage usage = process_usage();
  impl_->resident.Set(static_cast<double>(usage.resident_bytes));
  impl_->virtual_memory.Set(static_cast<double>(usage.virtual_bytes));
  impl_->open_files.Set(usage.open_files);
  impl_->cpu_seconds.follow(usage.cpu_seconds);
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace fathom
