#include <span>

#include "api/json_reader.h"
#include "api/native.h"
#include "api/sampling.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;

std::optional<array> as_array(std::optional<JsonValue> value) {
  array items;
  if (value && value->get(items) == simdjson::SUCCESS) return items;
  return std::nullopt;
}

// "text": a string or a list of strings.
Parsed<bool> read_texts(JsonValue value, std::vector<Prompt>& prompts) {
  const auto list = as_array(value);
  if (!list) {
    prompts.emplace_back().text = TRY(to_string(value, "text"));
    return false;
  }
  for (const JsonValue item : *list) {
    const auto path = fmt::format("text[{}]", prompts.size());
    prompts.emplace_back().text = TRY(to_string(item, path));
  }
  if (prompts.empty()) return refuse("text cannot be an empty list.");
  return true;
}

// "input_ids": a list of ids or a list of such lists.
Parsed<bool> read_ids(JsonValue value, const Settings& settings, std::vector<Prompt>& prompts) {
  const auto list = as_array(value);
  if (!list) return std::unexpected(Failure(400, "input_ids: must be a list of integers", true));
  const auto add = [&](JsonValue ids, const std::string& path) -> std::expected<void, Failure> {
    Prompt& prompt = prompts.emplace_back();
    prompt.tokenized = true;
    prompt.ids = TRY(to_token_ids(ids, path, settings.vocab_size));
    if (prompt.ids.empty()) return refuse("{} cannot be empty.", path);
    return {};
  };
  if (list->size() == 0 || !(*list->begin()).is_array()) {
    TRY(add(value, "input_ids"));
    return false;
  }
  for (const JsonValue item : *list) TRY(add(item, fmt::format("input_ids[{}]", prompts.size())));
  return true;
}

Parsed<bool> read_prompts(const Fields& fields, const Settings& settings,
                          std::vector<Prompt>& prompts) {
  if (fields.find("input_embeds")) {
    return refuse("input_embeds is not supported by this build yet. Use text or input_ids.");
  }
  if (const auto text = fields.find("text")) return read_texts(*text, prompts);
  if (const auto ids = fields.find("input_ids")) return read_ids(*ids, settings, prompts);
  return refuse("Either text, input_ids or input_embeds should be provided.");
}

// A field that is one value for all prompts or, in a batch, a list with one for each.
// apply(value, path, prompt) -> expected<void, Failure>.
template <class Apply>
std::expected<void, Failure> for_each_prompt(const Fields& fields, std::string_view name,
                                             std::span<Prompt> prompts, bool list_per_prompt,
                                             Apply apply) {
  const auto value = fields.find(name);
  if (!value) return {};
  const auto list = as_array(value);
  if (!list || !list_per_prompt) {
    for (auto& prompt : prompts) TRY(apply(*value, std::string(name), prompt));
    return {};
  }
  if (list->size() != prompts.size()) {
    return refuse("{} has {} entries, but the batch has {} prompts.", name, list->size(),
                  prompts.size());
  }
  size_t i = 0;
  for (const JsonValue item : *list) {
    if (!item.is_null()) TRY(apply(item, fmt::format("{}[{}]", name, i), prompts[i]));
    ++i;
  }
  return {};
}

std::expected<void, Failure> read_all_sampling(const Fields& fields, const Settings& settings,
                                               Job& job) {
  for (auto& prompt : job.prompts) prompt.sampling = settings.native_defaults;
  std::optional<int64_t> samples;
  const auto all_alike = [&](int64_t n) -> std::expected<void, Failure> {
    if (samples && *samples != n) {
      return refuse(
          "sampling_params: n must be the same for all prompts of a batch, got {} and {}.",
          *samples, n);
    }
    samples = n;
    return {};
  };
  // One object for all is read once, so that the prompts share what is large in it.
  const auto list = as_array(fields.find("sampling_params"));
  const std::span<Prompt> read_for = std::span(job.prompts).first(list ? job.prompts.size() : 1);
  TRY(for_each_prompt(fields, "sampling_params", read_for, true,
                      [&](JsonValue value, const std::string& path,
                          Prompt& prompt) -> std::expected<void, Failure> {
                        Fields params(value, path, false);
                        read_native_sampling(params, prompt.sampling, prompt.explicit_length,
                                             settings);
                        int64_t n = 1;
                        params.integer("n", n, 1, settings.max_samples);
                        TRY(params.status());
                        TRY(check_min_tokens(prompt.sampling, "min_new_tokens", "max_new_tokens"));
                        return all_alike(n);
                      }));
  if (list && std::ranges::any_of(*list, [](JsonValue item) { return item.is_null(); })) {
    TRY(all_alike(1));
  }
  for (Prompt& prompt : std::span(job.prompts).subspan(read_for.size())) {
    prompt.sampling = job.prompts[0].sampling;
    prompt.explicit_length = job.prompts[0].explicit_length;
  }
  job.samples = samples.value_or(1);
  return check_sequence_count(job.prompts.size(), job.samples, settings);
}

std::expected<void, Failure> read_logprobs(const Fields& fields, const Settings& settings,
                                           std::vector<Prompt>& prompts) {
  using Done = std::expected<void, Failure>;
  TRY(for_each_prompt(fields, "return_logprob", prompts, true,
                      [](JsonValue value, const std::string& path, Prompt& prompt) -> Done {
                        if (value.get(prompt.logprob.enabled) == simdjson::SUCCESS) return {};
                        return std::unexpected(
                            Failure(400, path + ": must be true or false", true));
                      }));
  TRY(for_each_prompt(fields, "logprob_start_len", prompts, true,
                      [](JsonValue value, const std::string& path, Prompt& prompt) -> Done {
                        prompt.logprob.start_len =
                            static_cast<int32_t>(TRY(to_integer(value, path, -1, kInt32Max)));
                        return {};
                      }));
  TRY(for_each_prompt(fields, "top_logprobs_num", prompts, true,
                      [&](JsonValue value, const std::string& path, Prompt& prompt) -> Done {
                        prompt.logprob.top_n = static_cast<int32_t>(
                            TRY(to_integer(value, path, 0, settings.max_top_logprobs)));
                        return {};
                      }));
  const auto chosen = as_array(fields.find("token_ids_logprob"));
  const bool nested = chosen && chosen->size() > 0 && !(*chosen->begin()).is_number();
  return for_each_prompt(fields, "token_ids_logprob", prompts, nested,
                         [&](JsonValue value, const std::string& path, Prompt& prompt) -> Done {
                           prompt.logprob.token_ids =
                               TRY(to_token_ids(value, path, settings.vocab_size));
                           return check_chosen_ids(prompt.logprob, path, settings);
                         });
}

std::expected<void, Failure> read_rids(const Fields& fields, Job& job) {
  const auto value = fields.find("rid");
  if (!value) return {};
  if (value->is_string() && job.sequences() > 1) {
    job.rid_base = TRY(to_string(*value, "rid"));
    return {};
  }
  return for_each_prompt(
      fields, "rid", job.prompts, true,
      [](JsonValue item, const std::string& path, Prompt& prompt) -> std::expected<void, Failure> {
        prompt.rid = TRY(to_string(item, path));
        return {};
      });
}

}  // namespace

Parsed<NativeRequest> parse_generate(const std::string& body, const Settings& settings) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  NativeRequest request;
  Job& job = request.job;
  if (fields.find("text") && fields.find("input_ids") && fields.find("input_embeds")) {
    return refuse("Only one of text, input_ids and input_embeds may be provided.");
  }
  TRY(read_common(fields, job, settings));
  fields.boolean("return_text_in_logprobs", request.text_in_logprobs);
  fields.boolean("return_prompt_token_ids", request.return_prompt_ids);
  TRY(fields.status());
  const bool list = TRY(read_prompts(fields, settings, job.prompts));
  TRY(check_sequence_count(job.prompts.size(), 1, settings));
  TRY(read_all_sampling(fields, settings, job));
  TRY(read_logprobs(fields, settings, job.prompts));
  request.batch = list || job.samples > 1;
  TRY(read_rids(fields, job));
  // SGLang's newer clients may put the interval beside the sampling parameters.
  if (const auto params = fields.find("sampling_params"); params && params->is_object()) {
    Fields inner(*params, "sampling_params", false);
    inner.integer("stream_interval", job.stream_interval, 1, kInt32Max);
    TRY(inner.status());
  }
  return request;
}

Result<SamplingParams> parse_sampling_defaults(std::string_view json, const SamplingParams& base) {
  auto document = JsonDocument::parse(std::string(json));
  if (!document) return invalid("preferred_sampling_params: {}", document.error().message);
  Fields fields(document->root(), "", false);
  SamplingParams sampling = base;
  bool explicit_length = false;
  Settings no_bounds;
  no_bounds.vocab_size = static_cast<int32_t>(kInt32Max);
  read_native_sampling(fields, sampling, explicit_length, no_bounds);
  if (fields.failure()) return invalid("preferred_sampling_params: {}", fields.failure()->message);
  return sampling;
}

Result<SamplingParams> parse_generation_config(std::string_view json, const SamplingParams& base) {
  auto document = JsonDocument::parse(std::string(json));
  if (!document) return invalid("generation_config.json: {}", document.error().message);
  Fields fields(document->root(), "", false);
  SamplingParams s = base;
  fields.number("temperature", s.temperature, {.low = 0});
  fields.number("top_p", s.top_p, {.low = 0, .high = 1, .low_open = true});
  fields.number("min_p", s.min_p, {.low = 0, .high = 1});
  fields.integer("top_k", s.top_k, -1, kInt32Max);
  fields.number("repetition_penalty", s.repetition_penalty,
                {.low = 0, .high = 2, .low_open = true});
  if (fields.failure()) return invalid("generation_config.json: {}", fields.failure()->message);
  if (s.top_k == 0) s.top_k = -1;  // Hugging Face's "off"
  return s;
}

}  // namespace fathom::api
