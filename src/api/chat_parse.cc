#include "api/chat.h"
#include "api/sampling.h"

namespace fathom::api {
namespace {

// max_completion_tokens, else max_tokens; null and 0 mean "as much as fits".
void read_max_tokens(Fields& fields, Prompt& prompt) {
  int64_t most = 0;
  const std::string_view name =
      fields.find("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  fields.integer(name, most, 0, kInt32Max);
  prompt.explicit_length = most > 0;
  prompt.sampling.max_new_tokens = most > 0 ? most : -1;
}

void read_logprobs(Fields& fields, bool& wanted, LogprobOptions& logprob) {
  int64_t top = 0;
  fields.boolean("logprobs", wanted);
  fields.integer("top_logprobs", top, 0, kMaxTopLogprobs);
  if (wanted) logprob = {.enabled = true, .top_n = static_cast<int32_t>(top)};
}

}  // namespace

Parsed<ChatRequest> parse_chat(const std::string& body, const Settings& settings) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  ChatRequest request;
  Job& job = request.job;
  TRY(read_common(fields, job, settings));
  Prompt& prompt = job.prompts.emplace_back();
  prompt.add_special = false;  // templates write BOS themselves
  prompt.sampling = settings.chat_defaults;
  if (fields.find("input_ids")) {
    prompt.tokenized = true;
    fields.token_ids("input_ids", prompt.ids, settings.vocab_size);
    TRY(fields.status());
    if (prompt.ids.empty()) return refuse("input_ids cannot be empty.");
    // Nothing is rendered, but the answer is read like any other.
    request.chat.thinking = TRY(read_template_arguments(fields, settings)).thinking();
    request.chat.tool_use = TRY(read_tools(fields, true));
  } else {
    request.chat = TRY(read_chat_prompt(fields, settings, true));
  }
  fields.integer("n", job.samples, 1, settings.max_samples);
  TRY(fields.status());
  TRY(check_sequence_count(1, job.samples, settings));
  TRY(read_openai(fields, "chatcmpl", request.options, job, settings));
  read_openai_sampling(fields, prompt.sampling, settings);
  read_max_tokens(fields, prompt);
  read_logprobs(fields, request.logprobs, prompt.logprob);
  fields.boolean("separate_reasoning", request.separate_reasoning);
  fields.boolean("stream_reasoning", request.stream_reasoning);
  TRY(fields.status());
  TRY(check_min_tokens(prompt.sampling, "min_tokens", "max_tokens"));
  return request;
}

}  // namespace fathom::api
