#include "api/tokens.h"

#include <algorithm>
#include <set>

#include "api/chat.h"
#include "api/json_reader.h"
#include "api/json_writer.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;

// Of texts that may be tokenised, however small the context: some seconds' work.
constexpr size_t kAlwaysAllowedBytes = 4 << 20;
constexpr size_t kMostBytesPerToken = 64;

void write_list(JsonWriter& out, const std::vector<int32_t>& ids) {
  out.begin_array();
  for (const int32_t id : ids) out.integer(id);
  out.end_array();
}

struct Tokenized {
  std::vector<std::vector<int32_t>> lists;
  bool batch = false;
};

Parsed<Tokenized> tokenize_prompts(Fields& fields, JsonValue prompt, const Settings& settings,
                                   const Tokenizer& tokenizer) {
  bool add_special = true;
  fields.boolean("add_special_tokens", add_special);
  TRY(fields.status());
  std::vector<std::string> texts;
  fields.strings("prompt", texts);
  TRY(fields.status());
  if (texts.empty()) return refuse("prompt cannot be an empty list.");
  size_t bytes = 0;
  for (const auto& text : texts) bytes += text.size();
  TRY(check_text_bytes(bytes, settings));
  Tokenized out;
  out.batch = prompt.is_array();
  for (const auto& text : texts) out.lists.push_back(TRY(tokenizer.encode(text, add_special)));
  return out;
}

Parsed<Tokenized> tokenize_chat(Fields& fields, const Settings& settings,
                                const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  if (!settings.text) return refuse("{}", kNoText);
  const ChatPrompt prompt = TRY(read_chat_prompt(fields, settings, false));
  const std::string text = TRY(render(prompt, chat_template, tokenizer));
  TRY(check_text_bytes(text.size(), settings));
  Tokenized out;
  out.lists.push_back(TRY(tokenizer.encode(text, false)));
  return out;
}

}  // namespace

std::expected<void, Failure> check_text_bytes(size_t bytes, const Settings& settings) {
  const size_t most = std::max(kAlwaysAllowedBytes,
                               kMostBytesPerToken * static_cast<size_t>(settings.context_length));
  if (bytes <= most) return {};
  return refuse("The text has {} bytes; at most {} are made into tokens at once.", bytes, most);
}

Parsed<std::string> tokenize(const std::string& body, const Settings& settings,
                             const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  const auto prompt = fields.find("prompt");
  if (prompt.has_value() == fields.find("messages").has_value()) {
    return refuse("Exactly one of prompt and messages must be provided.");
  }
  const Tokenized tokens = prompt ? TRY(tokenize_prompts(fields, *prompt, settings, tokenizer))
                                  : TRY(tokenize_chat(fields, settings, tokenizer, chat_template));
  std::string text;
  JsonWriter out(text);
  out.begin_object().key("tokens");
  if (tokens.batch) out.begin_array();
  for (const auto& ids : tokens.lists) write_list(out, ids);
  if (tokens.batch) out.end_array();
  out.key("count");
  if (tokens.batch) out.begin_array();
  for (const auto& ids : tokens.lists) out.integer(static_cast<int64_t>(ids.size()));
  if (tokens.batch) out.end_array();
  out.key("max_model_len").integer(settings.context_length).end_object();
  return text;
}

Parsed<std::string> detokenize(const std::string& body, const Settings& settings,
                               const Tokenizer& tokenizer) {
  if (!settings.text) return refuse("{}", kNoText);
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  bool skip_special = true;
  fields.boolean("skip_special_tokens", skip_special);
  TRY(fields.status());
  const auto value = fields.find("tokens");
  array list;
  if (!value || value->get(list) != simdjson::SUCCESS) {
    return std::unexpected(Failure(400, "tokens: must be a list of integers or of lists", true));
  }
  const bool batch = list.size() > 0 && (*list.begin()).is_array();
  std::vector<std::string> texts;
  if (!batch) {
    const auto ids = TRY(to_token_ids(*value, "tokens", settings.vocab_size));
    texts.push_back(tokenizer.decode(ids, skip_special));
  } else {
    for (const JsonValue item : list) {
      const auto path = fmt::format("tokens[{}]", texts.size());
      const auto ids = TRY(to_token_ids(item, path, settings.vocab_size));
      texts.push_back(tokenizer.decode(ids, skip_special));
    }
  }
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  for (const auto name : {"text", "prompt"}) {  // vLLM's clients read "prompt"
    out.key(name);
    if (batch) out.begin_array();
    for (const auto& one : texts) out.string(one);
    if (batch) out.end_array();
  }
  out.end_object();
  return text;
}

std::string tokenizer_info(const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  std::set<std::string_view> written;
  const auto write_token = [&](std::string_view name, std::optional<int32_t> id) {
    out.key(name);
    id ? out.string(tokenizer.token_bytes(*id)) : out.null();
    written.insert(name);
  };
  write_token("bos_token", tokenizer.bos());
  write_token("eos_token", tokenizer.eos());
  out.key("chat_template");
  chat_template ? out.string(chat_template->source()) : out.null();
  written.insert("chat_template");
  const std::string config(tokenizer.config_json());
  const auto document = JsonDocument::parse(config);
  simdjson::dom::object members;
  if (document && document->root().get(members) == simdjson::SUCCESS) {
    for (const auto& [name, value] : members) {
      if (written.insert(name).second) out.any_key(name).raw(simdjson::minify(value));
    }
  }
  if (written.insert("tokenizer_class").second) {
    out.key("tokenizer_class").string("PreTrainedTokenizerFast");
  }
  out.end_object();
  return text;
}

}  // namespace fathom::api
