#include "server/args/server_args.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <random>

#include "base/json.h"
#include "server/args/config_file.h"
#include "text/dialects/reasoning.h"
#include "text/dialects/tool_calls.h"

namespace fathom {
namespace {

// An option's integer within [low, high], or why not.
Result<std::optional<int64_t>> ranged(const OptionValues& v, std::string_view name, int64_t low,
                                      int64_t high) {
  const auto value = v.integer(name);
  if (value && (*value < low || *value > high)) {
    return invalid("argument --{}: must be in [{}, {}], got {}", name, low, high, *value);
  }
  return value;
}

// Dialects of thoughts and tool calls.
Status read_dialects(const OptionValues& v, ServerArgs& a) {
  a.reasoning_parser = v.text("reasoning-parser");
  a.tool_call_parser = v.text("tool-call-parser");
  const auto named = [](const std::string& name) { return !name.empty() && name != "auto"; };
  if (named(a.reasoning_parser)) {
    if (const auto found = find_reasoning_dialect(a.reasoning_parser); !found) {
      return invalid("argument --reasoning-parser: {}", found.error().message);
    }
  }
  if (named(a.tool_call_parser)) {
    if (const auto found = find_tool_dialect(a.tool_call_parser); !found) {
      return invalid("argument --tool-call-parser: {}", found.error().message);
    }
  }
  a.enable_strict_thinking = v.flag("enable-strict-thinking");
  a.strip_thinking_cache = v.flag("strip-thinking-cache");
  a.trust_request_chat_template = v.flag("trust-request-chat-template");
  for (const char* name : {"enable-strict-thinking", "strip-thinking-cache"}) {
    if (v.flag(name) && a.reasoning_parser.empty()) {
      return invalid("argument --{}: needs --reasoning-parser", name);
    }
  }
  return {};
}

Status check_json_object(const OptionValues& v, std::string_view name) {
  const auto text = v.maybe_text(name);
  if (!text) return {};
  TRY(parse_json_object(*text, fmt::format("argument --{}", name)));
  return {};
}

// "0-3,8|4-7": core sets per rank, of which one rank takes the first. `what` is for messages.
Result<std::vector<int>> parse_cores(std::string_view what, std::string_view text) {
  std::vector<int> cores;
  std::string_view rest = text.substr(0, text.find('|'));
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    int first = 0;
    const auto [dash, error] = std::from_chars(part.data(), part.data() + part.size(), first);
    int last = first;
    const char* end = part.data() + part.size();
    bool good = error == std::errc() && first >= 0;
    if (good && dash != end) {
      const auto [stop, second] = std::from_chars(dash + 1, end, last);
      good = *dash == '-' && second == std::errc() && stop == end && last >= first && last < 65536;
    }
    if (!good) {
      return invalid("{}: '{}' is not a list of cores such as 0-3,8", what, text);
    }
    for (int core = first; core <= last; ++core) cores.push_back(core);
  }
  return cores;
}

// --numa-node: the cores of the node of this rank, the first one.
Result<std::vector<int>> cores_of_node(const std::string& node) {
  const bool number = !node.empty() && std::ranges::all_of(node, [](char c) { return c >= '0' && c <= '9'; });
  std::string list;
  if (number) {
    std::ifstream file("/sys/devices/system/node/node" + node + "/cpulist");
    std::getline(file, list);
  }
  if (list.empty()) return invalid("argument --numa-node: this machine has no NUMA node '{}'", node);
  return parse_cores("--numa-node " + node, list);
}

// Edges of histogram buckets: ascending positive numbers.
Result<std::vector<double>> buckets(const OptionValues& v, std::string_view name) {
  std::vector<double> edges;
  for (const std::string& word : v.list(name)) {
    double edge = 0;
    const auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), edge);
    if (ec != std::errc() || end != word.data() + word.size() || !std::isfinite(edge) ||
        edge <= (edges.empty() ? 0 : edges.back())) {
      return invalid("argument --{}: must be ascending positive numbers, got '{}'", name, word);
    }
    edges.push_back(edge);
  }
  return edges;
}

Result<std::map<std::string, std::string>> metric_labels(const OptionValues& v) {
  constexpr std::string_view kName = "argument --extra-metric-labels";
  std::map<std::string, std::string> labels;
  const auto text = v.maybe_text("extra-metric-labels");
  if (!text) return labels;
  const Json json = TRY(parse_json_object(*text, kName));
  for (const auto& [label, value] : json.items()) {
    const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
    if (label.empty() || std::isdigit(static_cast<unsigned char>(label[0])) || label.starts_with("__") ||
        label == "le" || !std::ranges::all_of(label, plain)) {
      return invalid("{}: '{}' is not a label name", kName, label);
    }
    if (!value.is_string()) return invalid("{}: the value of '{}' must be a string", kName, label);
    labels[label] = value.get<std::string>();
  }
  return labels;
}

uint64_t random_seed() {
  std::random_device device;
  return device() & 0x3fffffff;
}

Status read_model(const OptionValues& v, ServerArgs& a) {
  a.model_path = v.maybe_text("model-path");
  if (a.model_path && a.model_path->empty()) {
    return invalid(
        "argument --model-path: is empty; leave it out to serve the embedded demo model");
  }
  a.tokenizer_path = v.text("tokenizer-path");
  a.skip_tokenizer_init = v.flag("skip-tokenizer-init");
  a.is_embedding = v.flag("is-embedding");
  const std::string format = v.text("load-format");
  if (format != "auto" && format != "safetensors" && format != "layered" && format != "gguf" &&
      format != "dummy") {
    return fail(ErrorCode::kUnsupported, "--load-format {} is not supported; convert to safetensors", format);
  }
  a.load_format = format == "dummy" ? "dummy" : "auto";
  if (const std::string device = v.text("device"); device == "cuda") {
    return fail(ErrorCode::kUnsupported, "No CUDA device found; use --device cpu");
  } else if (device != "cpu") {
    return fail(ErrorCode::kUnsupported, "--device {} is not supported (choose cpu or cuda)", device);
  }
  a.quantization = v.text("quantization");
  a.torchao_config = v.text("torchao-config");
  a.lm_head_dtype = v.text("lm-head-dtype");
  a.kv_cache_dtype = v.text("kv-cache-dtype");
  a.revision = v.text("revision");
  a.download_dir = v.text("download-dir");
  a.context_length = TRY(ranged(v, "context-length", 1, 1 << 24));
  a.served_model_name = v.maybe_text("served-model-name").value_or(a.model_path.value_or("fathom-demo"));
  a.chat_template = v.text("chat-template");
  a.hf_chat_template_name = v.text("hf-chat-template-name");
  TRY(read_dialects(v, a));
  a.json_model_override_args = v.text("json-model-override-args");
  a.preferred_sampling_params = v.text("preferred-sampling-params");
  a.default_chat_template_kwargs = v.text("default-chat-template-kwargs");
  a.sampling_defaults = v.text("sampling-defaults");
  a.weight_version = v.text("weight-version");
  for (const char* name : {"json-model-override-args", "preferred-sampling-params", "default-chat-template-kwargs"}) {
    TRY(check_json_object(v, name));
  }
  a.weight_loader_disable_mmap = v.flag("weight-loader-disable-mmap");
  a.model_checksum = v.text("model-checksum");
  if (!a.model_checksum.empty() && !a.model_path) {
    return invalid("argument --model-checksum: needs --model-path; the embedded demo model is not checked");
  }
  a.delete_ckpt_after_loading = v.flag("delete-ckpt-after-loading");
  if (a.delete_ckpt_after_loading && !a.weight_loader_disable_mmap) {
    return fail(ErrorCode::kUnsupported,
                "--delete-ckpt-after-loading cannot be combined with memory-mapped weights (use "
                "--weight-loader-disable-mmap)");
  }
  return {};
}

Status read_tls(const OptionValues& v, ServerArgs& a) {
  a.tls.certificate_file = v.text("ssl-certfile");
  a.tls.key_file = v.text("ssl-keyfile");
  a.tls.key_password = v.text("ssl-keyfile-password");
  a.tls.authorities_file = v.text("ssl-ca-certs");
  if (a.tls.certificate_file.empty() != a.tls.key_file.empty()) {
    return invalid("argument --ssl-{}: TLS needs both --ssl-certfile and --ssl-keyfile",
                   a.tls.key_file.empty() ? "certfile" : "keyfile");
  }
  if (a.tls.certificate_file.empty() && (v.given("ssl-ca-certs") || v.given("ssl-keyfile-password"))) {
    return invalid("argument --ssl-{}: has a meaning only with --ssl-certfile and --ssl-keyfile",
                   v.given("ssl-ca-certs") ? "ca-certs" : "keyfile-password");
  }
  return {};
}

Status read_telemetry(const OptionValues& v, ServerArgs& a) {
  a.log_requests = v.flag("log-requests");
  a.log_requests_level = static_cast<int>(*TRY(ranged(v, "log-requests-level", 0, 3)));
  a.log_requests_json = v.text("log-requests-format") == "json";
  a.log_requests_target = v.list("log-requests-target");
  a.access_log_exclude_prefixes = v.list("uvicorn-access-log-exclude-prefixes");
  a.enable_metrics = v.flag("enable-metrics");
  a.bucket_time_to_first_token = TRY(buckets(v, "bucket-time-to-first-token"));
  a.bucket_inter_token_latency = TRY(buckets(v, "bucket-inter-token-latency"));
  a.bucket_e2e_request_latency = TRY(buckets(v, "bucket-e2e-request-latency"));
  a.extra_metric_labels = TRY(metric_labels(v));
  a.enable_request_time_stats_logging = v.flag("enable-request-time-stats-logging");
  if (v.flag("export-metrics-to-file")) {
    a.export_metrics_to_file_dir = v.text("export-metrics-to-file-dir");
    if (a.export_metrics_to_file_dir.empty()) {
      return invalid("argument --export-metrics-to-file: needs --export-metrics-to-file-dir");
    }
  }
  a.crash_dump_folder = v.text("crash-dump-folder");
  a.watchdog_timeout = *v.number("watchdog-timeout");
  a.soft_watchdog_timeout = v.number("soft-watchdog-timeout").value_or(0);
  if (v.flag("enable-trace")) a.otlp_traces_endpoint = v.text("otlp-traces-endpoint");
  return {};
}

Status read_http(const OptionValues& v, ServerArgs& a) {
  a.host = v.text("host");
  a.port = static_cast<uint16_t>(*TRY(ranged(v, "port", 0, 65535)));
  a.api_key = v.text("api-key");
  a.admin_api_key = v.text("admin-api-key");
  a.log_level = v.text("log-level");
  a.log_level_http = v.maybe_text("log-level-http").value_or(a.log_level);
  a.stream_interval = static_cast<int>(*TRY(ranged(v, "stream-interval", 1, 1 << 20)));
  a.incremental_streaming_output = v.flag("incremental-streaming-output");
  a.stream_response_default_include_usage = v.flag("stream-response-default-include-usage");
  a.allow_auto_truncate = v.flag("allow-auto-truncate");
  a.skip_server_warmup = v.flag("skip-server-warmup");
  a.fastapi_root_path = v.text("fastapi-root-path");
  a.max_sequences_per_request = *TRY(ranged(v, "max-sequences-per-request", 1, 1 << 20));
  a.max_top_logprobs = *TRY(ranged(v, "max-top-logprobs", 0, 1 << 24));
  a.max_body_bytes = *TRY(ranged(v, "max-request-body-bytes", 1024, int64_t{1} << 40));
  a.timeout_keep_alive = *TRY(ranged(v, "timeout-keep-alive", 1, 86400));
  a.graceful_exit_timeout = *TRY(ranged(v, "graceful-exit-timeout", 0, 86400));
  return {};
}

Status read_engine(const OptionValues& v, ServerArgs& a) {
  const auto small = [&](std::string_view name, int64_t low) -> Result<std::optional<int32_t>> {
    const auto value = TRY(ranged(v, name, low, 1 << 30));
    if (!value) return std::nullopt;
    return static_cast<int32_t>(*value);
  };
  a.mem_fraction_static = v.number("mem-fraction-static");
  a.max_total_tokens = TRY(ranged(v, "max-total-tokens", 1, INT32_MAX / 2));
  a.max_running_requests = TRY(small("max-running-requests", 1));
  a.max_queued_requests = TRY(small("max-queued-requests", 0));
  a.prefill_max_requests = TRY(small("prefill-max-requests", 1));
  a.chunked_prefill_size = TRY(small("chunked-prefill-size", -1));
  if (a.chunked_prefill_size == 0) {
    return invalid("argument --chunked-prefill-size: must be positive, or -1 for whole prompts, got 0");
  }
  a.max_prefill_tokens = *TRY(small("max-prefill-tokens", 1));
  a.schedule_policy = v.text("schedule-policy");
  a.schedule_conservativeness = *v.number("schedule-conservativeness");
  if (a.schedule_conservativeness < 0) {
    return invalid("argument --schedule-conservativeness: must be at least 0, got {}",
                   a.schedule_conservativeness);
  }
  a.enable_priority_scheduling = v.flag("enable-priority-scheduling");
  a.schedule_low_priority_values_first = v.flag("schedule-low-priority-values-first");
  a.abort_on_priority_when_disabled = v.flag("abort-on-priority-when-disabled");
  constexpr int64_t kAnyLow = std::numeric_limits<int64_t>::min();
  constexpr int64_t kAnyHigh = std::numeric_limits<int64_t>::max();
  // Without a value of their own, requests are the least urgent ones.
  const int64_t least = a.schedule_low_priority_values_first ? kAnyHigh : kAnyLow;
  a.default_priority = TRY(ranged(v, "default-priority-value", kAnyLow, kAnyHigh))
                           .value_or(a.enable_priority_scheduling ? least : 0);
  if (a.enable_priority_scheduling && !v.flag("disable-priority-preemption")) {
    a.preemption_threshold = *TRY(ranged(v, "priority-scheduling-preemption-threshold", 0, kAnyHigh));
  }
  a.retraction_policy = v.text("retraction-policy");
  a.radix_eviction_policy = v.text("radix-eviction-policy");
  a.tlru_threshold = *TRY(small("tlru-threshold", 0));
  a.tlru_next_prompt_estimate = *TRY(small("tlru-next-prompt-estimate", 0));
  a.page_size = *TRY(small("page-size", 1));
  a.disable_radix_cache = v.flag("disable-radix-cache");
  const auto seed = TRY(ranged(v, "random-seed", 0, INT64_MAX));
  a.random_seed = seed ? static_cast<uint64_t>(*seed) : random_seed();
  a.decode_log_interval = *TRY(small("decode-log-interval", 1));
  a.enable_nan_detection = v.flag("enable-nan-detection");
  a.grammar_backend = v.text("grammar-backend");
  a.constrained_json_whitespace_pattern = v.text("constrained-json-whitespace-pattern");
  a.constrained_json_disable_any_whitespace = v.flag("constrained-json-disable-any-whitespace");
  a.kernel_target = v.given("cpu-kernel-target") || a.environment.kernel_target.empty()
                        ? v.text("cpu-kernel-target")
                        : a.environment.kernel_target;
  a.float_activations = v.text("cpu-activation-dtype") == "float32";
  a.cores = TRY(parse_cores("SGLANG_CPU_OMP_THREADS_BIND", a.environment.cpu_threads_bind));
  if (const auto nodes = v.list("numa-node"); a.cores.empty() && !nodes.empty()) {
    a.cores = TRY(cores_of_node(nodes[0]));
  }
  a.threads = static_cast<int32_t>(*TRY(ranged(v, "threads", 0, 1024)));
  return {};
}

// A value as JSON of its type.
Json json_of(const OptionValues& v, const Option& option) {
  if (option.type == OptionType::kFlag) return v.flag(option.name);
  if (option.type == OptionType::kList) {
    return v.given(option.name) ? Json(v.list(option.name)) : Json();
  }
  const auto text = v.maybe_text(option.name);
  if (!text) return Json();
  if (option.type == OptionType::kString) return *text;
  if (option.type == OptionType::kFloat) return *v.number(option.name);
  return *v.integer(option.name);
}

std::string snake(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

bool is_about_help(std::string_view name) { return name == "help" || name == "help-markdown" || name == "dry-run"; }

bool is_secret(std::string_view name) {
  return name.ends_with("api-key") || name.ends_with("password");
}

}  // namespace

Result<ServerArgs> parse_server_args(std::span<const std::string> words, const Environment& environment) {
  return read_server_args(TRY(parse_options_and_config(server_options(), words)), environment);
}

Result<ServerArgs> read_server_args(OptionValues values, const Environment& environment) {
  if (!environment.error.empty()) return invalid("{}", environment.error);
  ServerArgs args(std::move(values));
  args.environment = environment;
  const OptionValues& v = args.values;
  args.help = v.flag("help");
  args.dry_run = v.flag("dry-run");
  TRY(read_model(v, args));
  TRY(read_http(v, args));
  TRY(read_tls(v, args));
  TRY(read_telemetry(v, args));
  TRY(read_engine(v, args));
  return args;
}

OrderedJson server_args_json(const ServerArgs& args) {
  OrderedJson json;
  for (const Option& option : args.values.table()) {
    if (is_about_help(option.name)) continue;
    const bool secret = is_secret(option.name) && args.values.given(option.name);
    json[snake(option.name)] = secret ? Json("***") : json_of(args.values, option);
  }
  json["served_model_name"] = args.served_model_name;
  json["random_seed"] = args.random_seed;
  json["tp_size"] = 1;
  json["dp_size"] = 1;
  json["ep_size"] = 1;
  json["pp_size"] = 1;
  return json;
}

std::string server_args_line(const ServerArgs& args) {
  std::string line = "server_args=ServerArgs(";
  bool first = true;
  const OrderedJson all = server_args_json(args);
  for (const auto& [name, value] : all.items()) {
    std::string text = json_text(value);
    if (value.is_string()) text = "'" + value.get<std::string>() + "'";
    if (value.is_null()) text = "None";
    if (value.is_boolean()) text = value.get<bool>() ? "True" : "False";
    line += (first ? "" : ", ") + name + "=" + text;
    first = false;
  }
  return line + ")";
}

}  // namespace fathom
