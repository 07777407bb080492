#include "api/openai.h"

#include "api/meta_info.h"

namespace fathom::api {
namespace {

std::expected<void, Failure> read_stream_options(const Fields& fields, OpenAiOptions& options) {
  const auto value = fields.find("stream_options");
  if (!value) return {};
  Fields stream(*value, "stream_options");
  stream.boolean("include_usage", options.include_usage);
  stream.boolean("continuous_usage_stats", options.continuous_usage);
  return stream.status();
}

}  // namespace

std::expected<void, Failure> read_openai(Fields& fields, std::string_view id_prefix,
                                         OpenAiOptions& options, Job& job,
                                         const Settings& settings) {
  options.start = std::chrono::steady_clock::now();
  options.include_usage = settings.include_usage_by_default;
  options.model = settings.served_model_name;
  options.created = std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count();
  fields.string("model", options.model);
  fields.boolean("return_token_ids", options.return_token_ids);
  fields.boolean("return_prompt_token_ids", options.return_prompt_ids);
  fields.boolean("return_cached_tokens_details", options.return_cached_details);
  fields.boolean("return_meta_info", options.return_meta_info);
  TRY(fields.status());
  TRY(read_stream_options(fields, options));

  std::vector<std::string> rids;
  fields.strings("rid", rids);
  TRY(fields.status());
  options.id = fmt::format("{}-{}", id_prefix, random_id());
  if (rids.empty()) return {};
  if (!rids[0].empty()) options.id = rids[0];
  const bool list = fields.find("rid")->is_array();
  if (list && rids.size() != job.prompts.size()) {
    return refuse("rid has {} entries, but the request has {} prompts.", rids.size(),
                  job.prompts.size());
  }
  if (!list && job.sequences() > 1) {
    job.rid_base = rids[0];
  } else {
    for (size_t i = 0; i < rids.size(); ++i) job.prompts[i].rid = rids[i];
  }
  return {};
}

Usage usage_of(const Choice& choice) {
  return {choice.prompt_tokens(), choice.completion_tokens(), choice.cached_tokens(),
          choice.reasoning_tokens()};
}

Usage usage_of(const std::vector<Choice>& choices, size_t samples) {
  Usage sum;
  for (size_t i = 0; i < choices.size(); ++i) {
    const Usage one = usage_of(choices[i]);
    sum.completion += one.completion;
    sum.reasoning += one.reasoning;
    if (i % samples != 0) continue;
    sum.prompt += one.prompt;
    sum.cached += one.cached;
  }
  return sum;
}

void write_usage(JsonWriter& out, const Usage& usage) {
  out.begin_object();
  out.key("prompt_tokens").integer(usage.prompt);
  out.key("total_tokens").integer(usage.prompt + usage.completion);
  out.key("completion_tokens").integer(usage.completion);
  out.key("prompt_tokens_details").begin_object();
  out.key("cached_tokens").integer(usage.cached).end_object();
  out.key("reasoning_tokens").integer(usage.reasoning);
  out.key("completion_tokens_details");
  if (usage.reasoning > 0) {
    out.begin_object().key("reasoning_tokens").integer(usage.reasoning).end_object();
  } else {
    out.null();
  }
  out.end_object();
}

void write_finish(JsonWriter& out, const std::optional<FinishReason>& finish) {
  out.key("finish_reason");
  if (!finish) {
    out.null().key("matched_stop").null();
    return;
  }
  switch (finish->kind) {
    case FinishReason::Kind::kStop:
      out.string("stop");
      break;
    case FinishReason::Kind::kLength:
      out.string("length");
      break;
    case FinishReason::Kind::kAbort:
      out.string("abort");
      break;
  }
  out.key("matched_stop");
  if (const auto* id = std::get_if<int32_t>(&finish->matched)) {
    out.integer(*id);
  } else if (const auto* text = std::get_if<std::string>(&finish->matched)) {
    out.string(*text);
  } else {
    out.null();
  }
}

void write_meta_info(JsonWriter& out, const Choice& choice, const OpenAiOptions& options,
                     const std::string& weight_version) {
  if (!options.return_meta_info || !choice.finish()) return;
  out.key("meta_info").begin_object();
  write_meta_info(out, choice, weight_version, options.start);
  out.end_object();
}

void write_ids(JsonWriter& out, std::string_view key, std::span<const int32_t> ids) {
  out.key(key).begin_array();
  for (const int32_t id : ids) out.integer(id);
  out.end_array();
}

void open_response(JsonWriter& out, const OpenAiOptions& options, std::string_view object) {
  out.begin_object().key("id").string(options.id).key("object").string(object);
  out.key("created").integer(options.created).key("model").string(options.model);
}

void close_response(JsonWriter& out, const OpenAiOptions& options, const Usage& usage,
                    const std::string& weight_version) {
  out.key("usage");
  write_usage(out, usage);
  out.key("metadata").begin_object().key("weight_version").string(weight_version).end_object();
  if (options.return_cached_details) {
    out.key("sglext").begin_object().key("cached_tokens_details").begin_object();
    out.key("device").integer(usage.cached).key("host").integer(0).end_object().end_object();
  }
  out.end_object();
}

std::string usage_event(const OpenAiOptions& options, std::string_view object, const Usage& usage) {
  std::string event = "data: ";
  JsonWriter out(event);
  open_response(out, options, object);
  out.key("choices").begin_array().end_array().key("usage");
  write_usage(out, usage);
  out.end_object();
  return event + "\n\n";
}

}  // namespace fathom::api
