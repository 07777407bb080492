#include <algorithm>

#include "base/units.h"
#include "device/cores.h"
#include "engine/memory.h"
#include "engine/plan.h"
#include "engine/runner.h"
#include "kernels/compute.h"
#include "model/loader.h"

namespace fathom {
namespace {

constexpr double kDefaultMemFraction = 0.8;
constexpr int32_t kDefaultChunk = 4096;
constexpr int32_t kLeastRunning = 2048, kMostRunning = 4096;
constexpr double kMostTokens = INT32_MAX / 2;

Result<KvFormat> kv_format_of(const std::string& name) {
  if (name == "auto" || name == "bf16" || name == "bfloat16") return KvFormat::kBF16;
  if (name == "fp8_e4m3") return KvFormat::kF8E4M3;
  if (name == "fp8_e5m2") return KvFormat::kF8E5M2;
  return fail(ErrorCode::kUnsupported,
              "--kv-cache-dtype {} is not supported (choose auto, bf16, fp8_e4m3 or fp8_e5m2)",
              name);
}

std::string_view name_of(KvFormat format) {
  switch (format) {
    case KvFormat::kBF16:
      return "bf16";
    case KvFormat::kF32:
      return "fp32";
    case KvFormat::kF8E4M3:
      return "fp8_e4m3";
    case KvFormat::kF8E5M2:
      return "fp8_e5m2";
  }
  return "";
}

Result<std::string> target_of(const std::string& wanted) {
  const std::vector<std::string> runnable = runnable_targets();
  if (wanted == "auto") return runnable.back();
  if (std::find(runnable.begin(), runnable.end(), wanted) != runnable.end()) return wanted;
  std::string list;
  for (const std::string& name : runnable) list += (list.empty() ? "" : ", ") + name;
  return fail(ErrorCode::kUnsupported, "kernel target '{}' cannot run on this machine; it runs: {}",
              wanted, list);
}

// Threads are pinned to the cores that were asked for, as far as this process may use them.
Status resolve_threads(const EngineOptions& o, Plan& plan) {
  std::vector<int>& cores = plan.options.cores;
  const std::vector<int> usable = usable_cores();
  std::erase_if(cores, [&](int core) { return !std::ranges::binary_search(usable, core); });
  if (cores.size() < o.cores.size()) {
    const std::string why = fmt::format(
        "SGLANG_CPU_OMP_THREADS_BIND or --numa-node: {} of the {} cores are not there for this "
        "process, which may use {} cores from {} to {}",
        o.cores.size() - cores.size(), o.cores.size(), usable.size(), usable.front(),
        usable.back());
    if (cores.empty()) return invalid("{}", why);
    plan.notes.push_back(why);
  }
  const int unpinned = std::min(usable_core_count(), o.most_threads.value_or(INT32_MAX));
  plan.threads = o.threads > 0   ? o.threads
                 : cores.empty() ? unpinned
                                 : static_cast<int>(cores.size());
  return {};
}

Status resolve_context(const EngineOptions& o, Plan& plan) {
  plan.context_length = plan.model.max_position;
  if (!o.context_length) return {};
  if (*o.context_length < 1 || *o.context_length > (1 << 24)) {
    return invalid("--context-length must be in [1, {}], got {}", 1 << 24, *o.context_length);
  }
  if (*o.context_length > plan.model.max_position) {
    plan.notes.push_back(fmt::format("--context-length {} is larger than the model's {}; answers "
                                     "beyond it may be wrong", *o.context_length,
                                     plan.model.max_position));
  }
  plan.context_length = static_cast<int32_t>(*o.context_length);
  return {};
}

Status check_steps(const EngineOptions& o, Plan& plan) {
  if (o.max_running_requests && *o.max_running_requests < 1) {
    return invalid("--max-running-requests must be at least 1, got {}", *o.max_running_requests);
  }
  plan.chunk_rows = o.chunked_prefill_size.value_or(kDefaultChunk);
  if (o.page_size < 1 || o.page_size > 4096) {
    return invalid("--page-size must be in [1, 4096], got {}", o.page_size);
  }
  if (plan.chunk_rows > 0 && plan.chunk_rows % o.page_size != 0) {
    return invalid("chunked_prefill_size must be divisible by page_size: {} is not a multiple of {}",
                   plan.chunk_rows, o.page_size);
  }
  if (o.scheduler.max_prefill_tokens < o.page_size) {
    return invalid("--max-prefill-tokens must be at least the --page-size of {}, got {}", o.page_size,
                   o.scheduler.max_prefill_tokens);
  }
  if (o.max_total_tokens && *o.max_total_tokens < o.page_size) {
    return invalid("--max-total-tokens must be at least the --page-size of {}, got {}", o.page_size,
                   *o.max_total_tokens);
  }
  plan.mem_fraction = o.mem_fraction_static.value_or(kDefaultMemFraction);
  if (!(plan.mem_fraction > 0 && plan.mem_fraction <= 1)) {
    return invalid("--mem-fraction-static must be in (0, 1], got {}", plan.mem_fraction);
  }
  return {};
}

// Tokens of KV that `bytes` hold, capped by the flag, in whole pages.
int64_t tokens_in(double bytes, const EngineOptions& o, const Plan& plan) {
  const auto per_token = static_cast<double>(KvPool::bytes_per_token(plan.model, plan.kv_format));
  int64_t tokens = bytes > 0 ? static_cast<int64_t>(std::min(bytes / per_token, kMostTokens)) : 0;
  if (o.max_total_tokens) tokens = std::min(tokens, *o.max_total_tokens);
  return tokens / o.page_size * o.page_size;
}

// What --mem-fraction-static leaves for the pool and for scratch.
double budget_of(const HostMemory& memory, const Plan& plan) {
  return plan.mem_fraction * static_cast<double>(memory.total) -
         static_cast<double>(plan.weight_bytes);
}

// Most running requests (spec: scheduler-and-cache 2), most rows of a step, and what those need.
void resolve_batch(const EngineOptions& o, const HostMemory& memory, Plan& plan) {
  const int64_t tokens = tokens_in(budget_of(memory, plan), o, plan);
  const double by_pool = std::clamp<double>(
      512.0 * static_cast<double>(tokens) / plan.context_length, kLeastRunning, kMostRunning);
  plan.max_running = o.max_running_requests.value_or(static_cast<int32_t>(
      std::max<int64_t>(std::min(static_cast<int64_t>(by_pool), tokens / 2), 1)));
  // Without chunks the first prompt of a step is taken whole, and others while they fit.
  const int64_t prompt_rows = plan.chunk_rows > 0
                                  ? std::min(plan.chunk_rows, o.scheduler.max_prefill_tokens)
                                  : std::max(plan.context_length, o.scheduler.max_prefill_tokens);
  const int64_t most_rows = int64_t{plan.max_running} * plan.context_length;
  plan.step_rows = static_cast<int32_t>(std::min(prompt_rows, most_rows)) + plan.max_running;
  plan.scratch_bytes = scratch_bytes(plan.model, plan.step_rows) +
                       Runner::logit_bytes(plan.model, plan.max_running);
}

// The KV pool: what the fraction leaves, capped by flag, by use, and by what is free now. The
// prefix cache uses it too: a small batch is no reason for a small pool.
Status resolve_pool(const EngineOptions& o, const HostMemory& memory, Plan& plan) {
  plan.available_bytes = memory.available;
  const auto gib = [](auto bytes) { return static_cast<double>(bytes) / kGiB; };
  const int64_t per_token = KvPool::bytes_per_token(plan.model, plan.kv_format);
  const auto scratch = static_cast<double>(plan.scratch_bytes);
  const int64_t pages_used = std::max<int64_t>(plan.max_running, kLeastRunning) *
                             ((plan.context_length + o.page_size - 1) / o.page_size);
  const int64_t wanted =
      std::min(tokens_in(budget_of(memory, plan) - scratch, o, plan), pages_used * o.page_size);
  const double free = static_cast<double>(memory.available - plan.weight_bytes) - scratch;
  const int64_t tokens = std::min(wanted, tokens_in(free, o, plan));
  if (tokens <= 0) {
    const double share = plan.mem_fraction;
    return fail(ErrorCode::kExhausted,
                "Not enough memory. Please try to {}. ({:.2f} of {:.2f} GiB are {:.2f} GiB, {:.2f} GiB "
                "are free now; weights take {:.2f} GiB, scratch {:.2f} GiB for {} running requests, "
                "a token of KV {} bytes)",
                wanted > 0 ? "free some, or lower --max-running-requests"
                           : "increase --mem-fraction-static",
                share, gib(memory.total), share * gib(memory.total), gib(memory.available),
                gib(plan.weight_bytes), gib(plan.scratch_bytes), plan.max_running, per_token);
  }
  if (tokens < wanted) {
    plan.notes.push_back(fmt::format("the KV pool is {} tokens instead of {}: only {:.2f} GiB of "
                                     "memory are free", tokens, wanted, gib(memory.available)));
  }
  plan.total_tokens = tokens;
  plan.kv_bytes = tokens * per_token;
  if (tokens < plan.context_length) {
    plan.notes.push_back(fmt::format("the KV pool of {} tokens is smaller than the context of {}; "
                                     "longer requests are refused", tokens, plan.context_length));
  }
  return {};
}

}  // namespace

Result<Plan> resolve(const EngineOptions& o) { return resolve(o, host_memory()); }

Result<Plan> resolve(const EngineOptions& o, const HostMemory& memory) {
  Plan plan;
  plan.options = o;
  plan.model = TRY(read_model_config(*o.model, o.json_model_override));
  plan.kernel_target = TRY(target_of(o.kernel_target));
  plan.kv_format = TRY(kv_format_of(o.kv_cache_dtype));
  TRY(resolve_threads(o, plan));
  TRY(resolve_context(o, plan));
  TRY(check_steps(o, plan));
  const WeightSummary weights = TRY(summarize_weights(
      plan.model, *o.model,
      {.load_format = o.load_format, .quant = o.quant}));
  plan.weight_bytes = weights.bytes;
  plan.quantization = weights.quantization;
  resolve_batch(o, memory, plan);
  TRY(resolve_pool(o, memory, plan));

  SchedulerOptions& s = plan.options.scheduler;
  s.max_running = plan.max_running;
  s.chunked_prefill_size = plan.chunk_rows;
  s.random_seed = o.random_seed;
  return plan;
}

std::string Plan::to_text() const {
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / kGiB; };
  std::string text = fmt::format(
      "model            {} ({} layers, hidden {}, {} experts)\n"
      "checkpoint       {}\n"
      "kernels          {}, {} threads\n"
      "context length   {} tokens\n"
      "weights          {:.3f} GiB, {}\n"
      "KV pool          {} tokens, {:.3f} GiB ({} bytes per token, {})\n"
      "scratch          {:.3f} GiB for steps of up to {} rows\n"
      "memory           {:.3f} GiB available\n"
      "running requests at most {}\n"
      "prefill chunk    {}\n",
      model.architecture, model.layers, model.hidden, model.gate.experts, options.model->location(),
      kernel_target, threads, context_length, gib(weight_bytes),
      quantization.empty() ? "not quantised" : quantization, total_tokens, gib(kv_bytes),
      KvPool::bytes_per_token(model, kv_format), name_of(kv_format), gib(scratch_bytes), step_rows, gib(available_bytes),
      max_running, chunk_rows > 0 ? fmt::format("{} tokens", chunk_rows) : "whole prompts");
  for (const std::string& note : notes) text += "note: " + note + "\n";
  return text;
}

}  // namespace fathom
