#include "api/completions.h"
#include "api/sampling.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;

constexpr int64_t kDefaultMaxTokens = 16;

std::expected<void, Failure> add_ids(JsonValue value, const std::string& path,
                                     const Settings& settings, std::vector<Prompt>& prompts) {
  Prompt& prompt = prompts.emplace_back();
  prompt.tokenized = true;
  prompt.ids = TRY(to_token_ids(value, path, settings.vocab_size));
  if (prompt.ids.empty()) return refuse("Prompt cannot be empty: {} has no token.", path);
  return {};
}

std::expected<void, Failure> read_samples(Fields& fields, const Settings& settings,
                                          CompletionRequest& request) {
  fields.integer("n", request.n, 1, settings.max_samples);
  int64_t best_of = request.n;
  fields.integer("best_of", best_of, 1, settings.max_samples);
  TRY(fields.status());
  request.job.samples = std::max(request.n, best_of);
  if (request.job.samples > request.n && request.job.stream) {
    return refuse("best_of greater than n cannot be streamed, got best_of {} and n {}.", best_of,
                  request.n);
  }
  return check_sequence_count(request.job.prompts.size(), request.job.samples, settings);
}

}  // namespace

std::expected<void, Failure> read_prompts(const Fields& fields, const std::string& name,
                                          const Settings& settings, std::vector<Prompt>& prompts) {
  const auto value = fields.find(name);
  if (!value) return schema_error(name, "is required");
  if (value->is_string()) {
    prompts.emplace_back().text = TRY(to_string(*value, name));
    if (prompts[0].text.empty()) return refuse("Prompt cannot be empty");
    return {};
  }
  array list;
  if (value->get(list) != simdjson::SUCCESS) {
    return schema_error(name, "must be a string or a list");
  }
  if (list.size() == 0) return refuse("Prompt cannot be empty");
  const JsonValue first = *list.begin();
  if (!first.is_string() && !first.is_array()) return add_ids(*value, name, settings, prompts);
  bool all_empty = true;
  for (const JsonValue item : list) {
    const auto path = fmt::format("{}[{}]", name, prompts.size());
    if (first.is_array()) {
      TRY(add_ids(item, path, settings, prompts));
      all_empty = false;
    } else {
      prompts.emplace_back().text = TRY(to_string(item, path));
      all_empty = all_empty && prompts.back().text.empty();
    }
  }
  if (all_empty) return refuse("Prompt cannot be empty");
  return {};
}

Parsed<CompletionRequest> parse_completion(const std::string& body, const Settings& settings) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  CompletionRequest request;
  Job& job = request.job;
  TRY(read_common(fields, job, settings));
  TRY(read_prompts(fields, "prompt", settings, job.prompts));
  TRY(read_samples(fields, settings, request));
  TRY(read_openai(fields, "cmpl", request.options, job, settings));
  request.options.return_prompt_ids |= request.options.return_token_ids;
  fields.boolean("echo", request.echo);

  SamplingParams sampling;
  sampling.max_new_tokens = kDefaultMaxTokens;
  read_openai_sampling(fields, sampling, settings);
  fields.integer("max_tokens", sampling.max_new_tokens, 0, kInt32Max);
  LogprobOptions logprob;
  if (fields.find("logprobs")) {
    request.logprobs = 0;
    fields.integer("logprobs", *request.logprobs, 0, kMaxTopLogprobs);
    logprob = {.enabled = true,
               .start_len = request.echo ? 0 : -1,
               .top_n = static_cast<int32_t>(*request.logprobs)};
  }
  logprob.enabled |= job.samples > request.n;  // the best are chosen by their logprobs
  TRY(fields.status());
  TRY(check_min_tokens(sampling, "min_tokens", "max_tokens"));
  for (auto& prompt : job.prompts) {
    prompt.sampling = sampling;
    prompt.logprob = logprob;
    prompt.explicit_length = fields.find("max_tokens").has_value();
  }
  return request;
}

}  // namespace fathom::api
