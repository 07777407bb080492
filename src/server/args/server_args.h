// The flags of launch_server: one table, and the plain values the server is built from. Nothing below
// server/ and apps/ reads a flag or an environment variable.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/option_table.h"
#include "http/tls.h"
#include "sched/scheduler.h"

namespace fathom {

// Environment variables that SGLang's users set, read once at the edge.
struct Environment {
  std::string hf_home, hf_hub_cache, hf_endpoint, hf_token;
  bool hf_offline = false;
  std::string cpu_threads_bind;  // SGLANG_CPU_OMP_THREADS_BIND
  std::optional<int> omp_threads;
  std::string kernel_target;     // FATHOM_KERNEL_TARGET
  double health_check_timeout = 20;
  std::optional<double> waiting_timeout, running_timeout;  // SGLANG_REQ_{WAITING,RUNNING}_TIMEOUT, seconds
  std::optional<int64_t> max_new_tokens_limit;             // SGLANG_MAX_NEW_TOKENS_LIMIT
  OutputEstimate estimate;
  std::string profiler_dir = "/tmp";  // SGLANG_TORCH_PROFILER_DIR
  std::string expert_record_dir = "/tmp";  // SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR
  bool new_log_style = false;         // SGLANG_LOG_STYLE=new
  bool original_logprobs = false;     // SGLANG_RETURN_ORIGINAL_LOGPROB
  bool force_shutdown = false;        // SGL_FORCE_SHUTDOWN
  std::vector<std::string> ignored;   // set, known, without effect here
  std::string error;                  // what is wrong with one of them
  static Environment read();
};

// Every flag that does something, by its snake_case name.
struct ServerArgs {
  explicit ServerArgs(OptionValues v) : values(std::move(v)) {}

  // Model.
  std::optional<std::string> model_path;  // absent: the embedded demo model
  std::string tokenizer_path;             // empty: the model's
  bool skip_tokenizer_init = false;
  bool is_embedding = false;
  std::string load_format, quantization, torchao_config, lm_head_dtype, kv_cache_dtype, revision, download_dir;
  std::optional<int64_t> context_length;
  std::string served_model_name;          // resolved: never empty
  std::string chat_template, hf_chat_template_name;
  std::string reasoning_parser, tool_call_parser;  // a dialect's name, "auto" or empty
  bool enable_strict_thinking = false;
  bool strip_thinking_cache = false;
  std::string json_model_override_args;
  std::string preferred_sampling_params;  // JSON object or empty
  std::string sampling_defaults;          // "model" or "openai"
  bool weight_loader_disable_mmap = false;
  bool delete_ckpt_after_loading = false;
  std::string model_checksum;             // file with SHA-256 sums, or empty

  // HTTP.
  std::string host;
  uint16_t port = 30000;
  std::string api_key, admin_api_key;
  std::string log_level, log_level_http;
  http::TlsFiles tls;
  int stream_interval = 1;
  bool incremental_streaming_output = false;
  bool stream_response_default_include_usage = false;
  bool allow_auto_truncate = false;
  bool skip_server_warmup = false;
  bool trust_request_chat_template = false;
  std::string weight_version;
  std::string fastapi_root_path;
  std::string default_chat_template_kwargs;  // JSON object or empty
  int64_t max_sequences_per_request = 4096;
  int64_t max_top_logprobs = 4096;
  int64_t max_body_bytes = 64 << 20;
  int64_t timeout_keep_alive = 75;
  int64_t graceful_exit_timeout = 300;

  // Logs, metrics, traces.
  bool log_requests = false;
  int log_requests_level = 2;
  bool log_requests_json = false;
  std::vector<std::string> log_requests_target;  // "stdout" or folders; empty: the log
  std::vector<std::string> access_log_exclude_prefixes;
  bool enable_metrics = false;
  std::vector<double> bucket_time_to_first_token, bucket_inter_token_latency,
      bucket_e2e_request_latency;  // seconds; empty: SGLang's
  std::map<std::string, std::string> extra_metric_labels;
  bool enable_request_time_stats_logging = false;
  std::string export_metrics_to_file_dir;  // empty: no export
  std::string crash_dump_folder;
  double watchdog_timeout = 300, soft_watchdog_timeout = 0;  // seconds; 0: never
  std::string otlp_traces_endpoint;        // empty: no traces

  // Engine.
  std::optional<double> mem_fraction_static;
  std::optional<int64_t> max_total_tokens;
  std::optional<int32_t> max_running_requests, max_queued_requests, prefill_max_requests;
  std::optional<int32_t> chunked_prefill_size;
  int32_t max_prefill_tokens = 16384;
  std::string schedule_policy;
  double schedule_conservativeness = 1.0;
  bool enable_priority_scheduling = false;
  bool schedule_low_priority_values_first = false;
  bool abort_on_priority_when_disabled = false;
  int64_t default_priority = 0;
  std::optional<int64_t> preemption_threshold;
  std::string retraction_policy, radix_eviction_policy;
  int32_t tlru_threshold = 512, tlru_next_prompt_estimate = 128;  // tokens
  int32_t page_size = 1;
  bool disable_radix_cache = false;
  bool mixed_chunk = true;
  uint64_t random_seed = 0;               // resolved: chosen when not given
  int32_t decode_log_interval = 40;
  bool enable_nan_detection = false;
  std::string grammar_backend;
  std::string constrained_json_whitespace_pattern;  // a regular expression or empty
  bool constrained_json_disable_any_whitespace = false;
  std::string kernel_target;
  bool float_activations = false;         // --cpu-activation-dtype float32
  int threads = 0;
  std::vector<int> cores;

  bool dry_run = false;
  bool help = false;

  OptionValues values;  // for /server_info and the log line
  Environment environment;
};

std::span<const Option> server_options();

// kInvalid: syntax, exit code 2; kUnsupported: refused, exit code 1.
Result<ServerArgs> read_server_args(OptionValues values, const Environment& environment);
// The same from words.
Result<ServerArgs> parse_server_args(std::span<const std::string> args, const Environment& environment);

// {"model_path": "...", ...}: every option by its snake_case name with its resolved value; secrets are
// replaced by "***".
nlohmann::ordered_json server_args_json(const ServerArgs& args);
// server_args=ServerArgs(model_path='...', ...)
std::string server_args_line(const ServerArgs& args);

}  // namespace fathom
