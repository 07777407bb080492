// The environment variables that are honoured (spec: server-args 10).
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "server/args/server_args.h"

namespace fathom {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_true(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return value == "1" || value == "true" || value == "yes" || value == "on";
}

// What they steer does not exist here; SGLang's users have them in their scripts.
constexpr std::array kIgnored = {"TORCHINDUCTOR_CACHE_DIR",
                                 "SGL_ENABLE_JIT_DEEPGEMM",
                                 "SGLANG_ENABLE_JIT_DEEPGEMM",
                                 "SGLANG_CUTLASS_MOE",
                                 "NCCL_IB_GID_INDEX",
                                 "NCCL_DEBUG",
                                 "NCCL_SOCKET_IFNAME",
                                 "GLOO_SOCKET_IFNAME",
                                 "TORCH_CUDA_ARCH_LIST",
                                 "SGLANG_LOGGING_CONFIG_PATH",
                                 "CUDA_VISIBLE_DEVICES",
                                 "SGLANG_USE_MODELSCOPE",
                                 "MODELSCOPE_CACHE"};

class Reader {
 public:
  // Absent or empty: `fallback` is left alone. Broken or outside [low, high]: remembered as an
  // error.
  template <class Number>
  void read(const char* name, Number& value, double low, double high) {
    const std::string text = variable(name);
    if (text.empty()) return;
    Number number{};
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (ec == std::errc() && end == text.data() + text.size() &&
        static_cast<double>(number) >= low && static_cast<double>(number) <= high) {
      value = number;
      return;
    }
    if (error.empty()) {
      error = fmt::format("environment variable {}: must be a number in [{}, {}], got '{}'", name,
                          low, high, text);
    }
  }
  template <class Number>
  void read(const char* name, std::optional<Number>& value, double low, double high) {
    Number number = -1;
    read(name, number, low, high);
    if (number > 0) value = number;
  }

  std::string error;
};

}  // namespace

Environment Environment::read() {
  Environment e;
  e.hf_home = variable("HF_HOME");
  if (e.hf_home.empty()) e.hf_home = variable("HOME") + "/.cache/huggingface";
  e.hf_hub_cache = variable("HF_HUB_CACHE");
  if (e.hf_hub_cache.empty()) e.hf_hub_cache = variable("TRANSFORMERS_CACHE");
  if (e.hf_hub_cache.empty()) e.hf_hub_cache = e.hf_home + "/hub";
  e.hf_endpoint = variable("HF_ENDPOINT");
  e.hf_token = variable("HF_TOKEN");
  e.hf_offline = is_true(variable("HF_HUB_OFFLINE"));
  e.cpu_threads_bind = variable("SGLANG_CPU_OMP_THREADS_BIND");
  if (e.cpu_threads_bind == "all") e.cpu_threads_bind.clear();
  const int threads = std::atoi(variable("OMP_NUM_THREADS").c_str());
  if (threads > 0) e.omp_threads = threads;
  e.kernel_target = variable("FATHOM_KERNEL_TARGET");
  e.profiler_dir = variable("SGLANG_TORCH_PROFILER_DIR");
  if (e.profiler_dir.empty()) e.profiler_dir = "/tmp";
  e.expert_record_dir = variable("SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR");
  if (e.expert_record_dir.empty()) e.expert_record_dir = "/tmp";
  e.new_log_style = variable("SGLANG_LOG_STYLE") == "new";
  e.original_logprobs = is_true(variable("SGLANG_RETURN_ORIGINAL_LOGPROB"));
  e.force_shutdown = is_true(variable("SGL_FORCE_SHUTDOWN"));

  Reader reader;
  constexpr double kLongest = 1e9;
  reader.read("SGLANG_HEALTH_CHECK_TIMEOUT", e.health_check_timeout, 0.001, kLongest);
  reader.read("SGLANG_REQ_WAITING_TIMEOUT", e.waiting_timeout, -1, kLongest);
  reader.read("SGLANG_REQ_RUNNING_TIMEOUT", e.running_timeout, -1, kLongest);
  reader.read("SGLANG_MAX_NEW_TOKENS_LIMIT", e.max_new_tokens_limit, -1, kLongest);
  reader.read("SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION", e.estimate.clip_tokens, 1, kLongest);
  reader.read("SGLANG_INIT_NEW_TOKEN_RATIO", e.estimate.initial_ratio, 0, 1);
  reader.read("SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR", e.estimate.min_factor, 0, 1);
  reader.read("SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS", e.estimate.decay_steps, 1, kLongest);
  reader.read("SGLANG_RETRACT_DECODE_STEPS", e.estimate.retract_steps, 0, kLongest);
  e.error = reader.error;
  for (const char* name : kIgnored) {
    if (!variable(name).empty()) e.ignored.emplace_back(name);
  }
  return e;
}

}  // namespace fathom
