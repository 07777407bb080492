#include "api/score.h"

#include <cmath>

#include "api/sampling.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;

// Text or token ids.
struct Piece {
  bool tokenized = false;
  std::string text;
  std::vector<int32_t> ids;
};

Parsed<Piece> read_piece(JsonValue value, const std::string& path, const Settings& settings) {
  if (value.is_string()) return Piece{.text = TRY(to_string(value, path))};
  if (!value.is_array()) return schema_error(path, "must be a string or a list of token ids");
  return Piece{.tokenized = true, .ids = TRY(to_token_ids(value, path, settings.vocab_size))};
}

// A string, strings, token ids, or lists of token ids.
Parsed<std::vector<Piece>> read_items(const Fields& fields, const Settings& settings) {
  const auto value = fields.find("items");
  if (!value) return schema_error("items", "is required");
  std::vector<Piece> items;
  array list;
  const bool is_list = value->get(list) == simdjson::SUCCESS && list.size() > 0;
  if (!is_list || (*list.begin()).is_number()) {
    items.push_back(TRY(read_piece(*value, "items", settings)));
  } else {
    for (const JsonValue item : list) {
      items.push_back(TRY(read_piece(item, fmt::format("items[{}]", items.size()), settings)));
    }
  }
  return items;
}

// The query is in each of the prompts: a small body may ask for a lot of memory.
std::expected<void, Failure> check_size(const Piece& query, const std::vector<Piece>& items) {
  constexpr size_t kMostBytes = 256 << 20;
  const auto bytes_of = [](const Piece& piece) {
    return piece.text.size() + piece.ids.size() * sizeof(int32_t);
  };
  size_t bytes = bytes_of(query) * items.size();
  for (const Piece& item : items) bytes += bytes_of(item);
  if (bytes <= kMostBytes) return {};
  return refuse("query and items make {} bytes of prompts; at most {} are allowed per request.",
                bytes, kMostBytes);
}

Parsed<Prompt> join(const Piece& first, const Piece& second) {
  if (first.tokenized != second.tokenized) {
    return refuse("query and items must both be text or both be token ids.");
  }
  Prompt prompt;
  prompt.tokenized = first.tokenized;
  prompt.text = first.text + second.text;
  prompt.ids = first.ids;
  prompt.ids.insert(prompt.ids.end(), second.ids.begin(), second.ids.end());
  if (prompt.text.empty() && prompt.ids.empty()) return refuse("query and item are both empty.");
  return prompt;
}

class ScoreFormat final : public Format {
 public:
  explicit ScoreFormat(const ScoreRequest& request)
      : options_(request.options), softmax_(request.softmax) {}

  Shape error_shape() const override { return Shape::kOpenAi; }
  void set_prompts(std::vector<std::vector<int32_t>>) override {}
  void append_chunk(Events&, size_t, const Choice&) override {}  // never streams
  void append_closing(Events&, const std::vector<Choice>&) override {}

  std::string answer(const std::vector<Choice>& choices) override {
    std::string body;
    JsonWriter out(body);
    out.begin_object().key("scores").begin_array();
    for (const Choice& choice : choices) write_scores(out, choice);
    out.end_array().key("model").string(options_.model).key("usage");
    write_usage(out, usage_of(choices, 1));
    out.key("object").string("scoring").end_object();
    return body;
  }

 private:
  void write_scores(JsonWriter& out, const Choice& choice) const {
    std::vector<double> scores;
    double sum = 0;
    if (!choice.output_logprobs().empty()) {
      for (const auto& label : choice.output_logprobs()[0].chosen) {
        scores.push_back(std::exp(double{label.logprob.value_or(0.0f)}));
        sum += scores.back();
      }
    }
    out.begin_array();
    for (const double score : scores) {
      out.number(!softmax_ ? score : sum > 0 ? score / sum : 1.0 / double(scores.size()));
    }
    out.end_array();
  }

  OpenAiOptions options_;
  bool softmax_;
};

}  // namespace

Parsed<ScoreRequest> parse_score(const std::string& body, const Settings& settings) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  ScoreRequest request;
  Job& job = request.job;
  TRY(read_common(fields, job, settings));
  if (job.stream) return std::unexpected(Failure(501, "stream: scores cannot be streamed."));
  bool item_first = false;
  fields.boolean("item_first", item_first);
  fields.boolean("apply_softmax", request.softmax);
  LogprobOptions logprob{.enabled = true};
  if (!fields.find("label_token_ids")) fields.wrong("label_token_ids", "is required");
  fields.token_ids("label_token_ids", logprob.token_ids, settings.vocab_size);
  TRY(fields.status());
  if (logprob.token_ids.empty()) return refuse("label_token_ids cannot be empty.");
  TRY(check_chosen_ids(logprob, "label_token_ids", settings));

  Piece query;
  if (const auto value = fields.find("query")) query = TRY(read_piece(*value, "query", settings));
  const auto items = TRY(read_items(fields, settings));
  if (!fields.find("query")) query.tokenized = items[0].tokenized;
  TRY(check_sequence_count(items.size(), 1, settings));
  TRY(check_size(query, items));
  for (const Piece& item : items) {
    job.prompts.push_back(TRY(item_first ? join(item, query) : join(query, item)));
    Prompt& prompt = job.prompts.back();
    prompt.sampling.max_new_tokens = 1;
    prompt.sampling.temperature = 0;
    prompt.explicit_length = true;
    prompt.logprob = logprob;
  }
  TRY(read_openai(fields, "score", request.options, job, settings));
  return request;
}

std::unique_ptr<Format> score_format(const ScoreRequest& request) {
  return std::make_unique<ScoreFormat>(request);
}

}  // namespace fathom::api
