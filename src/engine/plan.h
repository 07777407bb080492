// The Plan: everything `resolve` decided from flags, model config and hardware, before anything is
// loaded. A printable value; --dry-run stops after it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file_set.h"
#include "base/result.h"
#include "engine/memory.h"
#include "kernels/args.h"
#include "kernels/compute.h"
#include "model/config.h"
#include "sched/scheduler.h"
#include "weights/quant_method.h"

namespace fathom {

// The choices that the engine needs, already parsed and range-checked by the flag table.
// Absent numbers mean "decide from the hardware".
struct EngineOptions {
  std::shared_ptr<const FileSet> model;  // the checkpoint's files (folder or embedded)
  std::string load_format = "auto";      // auto, safetensors, dummy
  std::string json_model_override;
  std::string kv_cache_dtype = "auto";
  QuantFlags quant;                      // empty: detect
  std::string kernel_target = "auto";
  Activations activations = Activations::kFastest;
  int threads = 0;                       // 0: all cores
  std::optional<int> most_threads;       // where `threads` does not say
  std::vector<int> cores;                // pinning, empty: none
  std::optional<int64_t> context_length;
  std::optional<double> mem_fraction_static;
  std::optional<int64_t> max_total_tokens;
  std::optional<int32_t> max_running_requests;
  std::optional<int32_t> chunked_prefill_size;
  int32_t page_size = 1;
  bool disable_radix_cache = false;
  SchedulerOptions scheduler;            // policy, limits; sizes above are resolved into it
  uint64_t random_seed = 0;
  int32_t decode_log_interval = 40;
  bool enable_nan_detection = false;
  bool original_logprobs = false;  // before the temperature
  EvictionPolicy eviction = EvictionPolicy::kLru;
  TailBudget tail_budget;  // of kTailLru
  std::optional<double> waiting_timeout, running_timeout;  // seconds; then 503
  std::optional<int64_t> max_new_tokens_limit;  // larger ones are cut
  bool new_log_style = false;  // "Decode batch, ..." as SGLang 0.5 prints it
  std::vector<bool> allowed_tokens;      // ids the tokenizer has; empty: all
};

struct Plan {
  EngineOptions options;
  ModelConfig model;
  std::string kernel_target;
  int threads = 1;
  int32_t context_length = 0;
  double mem_fraction = 0;        // of the machine's memory, for weights and KV pool
  int64_t total_tokens = 0;       // KV pool
  int32_t max_running = 0;
  int32_t chunk_rows = 0;         // most prompt rows in a step; <= 0: whole prompts
  int32_t step_rows = 0;          // most rows in a step
  KvFormat kv_format = KvFormat::kBF16;
  std::string quantization;       // what the weights are: "fp8", ...; empty: plain
  int64_t weight_bytes = 0, kv_bytes = 0, scratch_bytes = 0, available_bytes = 0;
  std::vector<std::string> notes;  // warnings to log

  std::string to_text() const;     // for --dry-run
};

// kInvalid / kExhausted with a message that names the flag and the numbers.
Result<Plan> resolve(const EngineOptions& options);
Result<Plan> resolve(const EngineOptions& options, const HostMemory& memory);

}  // namespace fathom
