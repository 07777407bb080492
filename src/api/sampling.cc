#include "api/sampling.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "api/constraints.h"

namespace fathom::api {
namespace {

constexpr int64_t kMinInt64 = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
constexpr size_t kMaxStops = 32;
constexpr size_t kMaxStopBytes = 4096;
constexpr size_t kMaxStopRegexBytes = 256;
constexpr size_t kMaxStopTokenIds = 1024;
constexpr size_t kMaxKeyBytes = 1024;

void read_stops(Fields& fields, std::string_view name, size_t max_bytes,
                Shared<std::vector<std::string>>& target, const Settings& settings) {
  if (!fields.find(name)) return;
  std::vector<std::string> stops;
  fields.strings(name, stops);
  std::erase_if(stops, [](const std::string& s) { return s.empty(); });
  if (!settings.text && !stops.empty()) {
    return fields.refuse_with(
        fmt::format("{}: there is no text to find it in. The server was started with "
                    "--skip-tokenizer-init: use stop_token_ids.",
                    name));
  }
  if (stops.size() > kMaxStops) {
    return fields.refuse_with(
        fmt::format("{} may hold at most {} strings, got {}.", name, kMaxStops, stops.size()));
  }
  for (const auto& stop : stops) {
    if (stop.size() > max_bytes) {
      return fields.refuse_with(fmt::format("{}: a string of {} bytes; at most {} are allowed.",
                                            name, stop.size(), max_bytes));
    }
  }
  target = std::move(stops);
}

void read_stop_token_ids(Fields& fields, SamplingParams& sampling, int64_t vocab_size) {
  constexpr std::string_view kName = "stop_token_ids";
  if (!fields.find(kName)) return;
  std::vector<int32_t> ids;
  fields.token_ids(kName, ids, vocab_size);
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  if (ids.size() > kMaxStopTokenIds) {
    return fields.refuse_with(
        fmt::format("{} may hold at most {} ids, got {}.", kName, kMaxStopTokenIds, ids.size()));
  }
  sampling.stop_token_ids = std::move(ids);
}

void read_logit_bias(Fields& fields, SamplingParams& sampling, int64_t vocab_size) {
  const auto value = fields.find("logit_bias");
  if (!value) return;
  simdjson::dom::object object;
  if (value->get(object) != simdjson::SUCCESS) {
    return fields.wrong("logit_bias", "must be an object of token ids and numbers");
  }
  std::vector<std::pair<int32_t, float>> biases;
  for (const auto& [key, bias] : object) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) {
      return fields.wrong("logit_bias", fmt::format("key '{}' is not a token id", key));
    }
    if (id < 0 || id >= vocab_size) {
      return fields.refuse_with(
          fmt::format("logit_bias: token id {} is outside [0, {}).", id, vocab_size));
    }
    double number;
    if (bias.get(number) != simdjson::SUCCESS) {
      return fields.wrong("logit_bias", fmt::format("the value of '{}' must be a number", key));
    }
    // As a float; what is beyond its range is as good as its end.
    constexpr double kMost = std::numeric_limits<float>::max();
    biases.emplace_back(static_cast<int32_t>(id),
                        static_cast<float>(std::clamp(number, -kMost, kMost)));
  }
  // Of an id that comes more than once the last counts.
  using Bias = std::pair<int32_t, float>;
  std::ranges::reverse(biases);
  std::ranges::stable_sort(biases, {}, &Bias::first);
  const auto repeated = std::ranges::unique(biases, {}, &Bias::first);
  biases.erase(repeated.begin(), repeated.end());
  biases.shrink_to_fit();
  sampling.logit_bias = std::move(biases);
}

// custom_params.thinking_budget: tokens.
void read_thinking_budget(Fields& fields, SamplingParams& sampling) {
  const auto value = fields.find("custom_params");
  if (!value) return;
  Fields custom(*value, "custom_params");
  if (custom.find("thinking_budget")) {
    int64_t budget = 0;
    custom.integer("thinking_budget", budget, 0, kInt32Max);
    sampling.thoughts = ThoughtLimits{.end = {}, .budget = budget, .banned = {}};
  }
  if (custom.failure()) fields.note(*custom.failure());
}

// Part of the name of a tree of the prefix cache, which outlives the request.
void read_key(Fields& fields, std::string_view name, std::string& key) {
  fields.string(name, key);
  if (key.size() > kMaxKeyBytes) {
    fields.refuse_with(
        fmt::format("{} has {} bytes; at most {} are allowed.", name, key.size(), kMaxKeyBytes));
  }
}

void read_seed(Fields& fields, std::string_view name, SamplingParams& sampling) {
  if (!fields.find(name)) return;
  int64_t seed = 0;
  fields.integer(name, seed, kMinInt64, kMaxInt64);
  sampling.seed = static_cast<uint64_t>(seed);
}

}  // namespace

void read_sampling(Fields& fields, SamplingParams& sampling, const Settings& settings) {
  SamplingParams& s = sampling;
  fields.number("temperature", s.temperature, {.low = 0});
  fields.number("top_p", s.top_p, {.low = 0, .high = 1, .low_open = true});
  fields.number("min_p", s.min_p, {.low = 0, .high = 1});
  fields.integer("top_k", s.top_k, -1, kInt32Max);
  if (s.top_k == 0) fields.refuse_with("top_k must be -1 (all tokens) or at least 1, got 0.");
  fields.number("frequency_penalty", s.frequency_penalty, {.low = -2, .high = 2});
  fields.number("presence_penalty", s.presence_penalty, {.low = -2, .high = 2});
  fields.number("repetition_penalty", s.repetition_penalty,
                {.low = 0, .high = 2, .low_open = true});
  read_stops(fields, "stop", kMaxStopBytes, s.stop, settings);
  read_stops(fields, "stop_regex", kMaxStopRegexBytes, s.stop_regex, settings);
  read_stop_token_ids(fields, s, settings.vocab_size);
  fields.boolean("ignore_eos", s.ignore_eos);
  fields.boolean("no_stop_trim", s.no_stop_trim);
  fields.boolean("skip_special_tokens", s.skip_special_tokens);
  fields.boolean("spaces_between_special_tokens", s.spaces_between_special_tokens);
  read_logit_bias(fields, s, settings.vocab_size);
  read_grammar(fields, s.grammar, settings);
  read_thinking_budget(fields, s);
}

void read_openai_sampling(Fields& fields, SamplingParams& sampling, const Settings& settings) {
  read_sampling(fields, sampling, settings);
  read_response_format(fields, sampling.grammar, settings);
  fields.integer("min_tokens", sampling.min_new_tokens, 0, kInt32Max);
  read_seed(fields, "seed", sampling);
}

void read_native_sampling(Fields& fields, SamplingParams& sampling, bool& explicit_length,
                          const Settings& settings) {
  read_sampling(fields, sampling, settings);
  fields.integer("min_new_tokens", sampling.min_new_tokens, 0, kInt32Max);
  read_seed(fields, "sampling_seed", sampling);
  if (fields.find("max_new_tokens")) {
    explicit_length = true;
    fields.integer("max_new_tokens", sampling.max_new_tokens, 0, kInt32Max);
  }
  if (fields.is_null("max_new_tokens")) sampling.max_new_tokens = -1;  // as much as fits
}

std::expected<void, Failure> read_common(Fields& fields, Job& job, const Settings& settings) {
  fields.boolean("stream", job.stream);
  job.stream_interval = settings.stream_interval;
  fields.integer("stream_interval", job.stream_interval, 1, kInt32Max);

  job.priority = settings.default_priority;
  if (fields.find("priority")) {
    fields.integer("priority", job.priority, kMinInt64, kMaxInt64);
    if (!settings.priority_scheduling && settings.abort_on_priority_when_disabled) {
      fields.note(Failure(503,
                          "Using priority is disabled for this server. Please send a new request "
                          "without a priority."));
    }
  }
  std::string extra_key, salt;
  read_key(fields, "extra_key", extra_key);
  read_key(fields, "cache_salt", salt);
  // Lengths in front keep different pairs different.
  if (!extra_key.empty() || !salt.empty()) {
    job.cache_namespace = fmt::format("{}:{}{}:{}", extra_key.size(), extra_key, salt.size(), salt);
  }
  fields.boolean("cache_prompt", job.use_prefix_cache);
  fields.boolean("require_reasoning", job.require_reasoning);
  int64_t rank = 0;
  fields.integer("routed_dp_rank", rank, 0, 0);
  fields.integer("data_parallel_rank", rank, 0, 0);

  if (fields.find("custom_logit_processor")) {
    fields.refuse_with(
        "The server is not configured to enable custom logit processor: "
        "custom_logit_processor must be null.");
  }
  for (const auto name : {"lora_path", "session_params", "image_data", "video_data", "audio_data",
                          "return_hidden_states"}) {
    fields.unsupported(name);
  }
  return fields.status();
}

std::expected<void, Failure> check_min_tokens(const SamplingParams& sampling,
                                              std::string_view min_name,
                                              std::string_view max_name) {
  if (sampling.max_new_tokens >= 0 && sampling.min_new_tokens > sampling.max_new_tokens) {
    return refuse("{} must be in [0, {} = {}], got {}.", min_name, max_name,
                  sampling.max_new_tokens, sampling.min_new_tokens);
  }
  return {};
}

}  // namespace fathom::api
