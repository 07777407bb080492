#include <algorithm>

#include "api/json_writer.h"
#include "api/meta_info.h"
#include "api/native.h"
#include "api/token_text.h"

namespace fathom::api {
namespace {

// JSON of a growing list, kept as text so that no event renders an element twice.
struct GrowingList {
  std::string json;
  JsonWriter writer() { return JsonWriter(json); }
  std::string text() const { return "[" + json + "]"; }
};

// Everything already rendered of one choice.
struct Rendered {
  std::string text;  // escaped
  GrowingList ids, logprobs, top, chosen;
  std::string input;  // the input logprob fields
  size_t text_done = 0, tokens_done = 0;
  int64_t tokens_shown = 0;  // in the lists now
};

class NativeFormat final : public Format {
 public:
  NativeFormat(const NativeRequest& request, const Settings& settings,
               std::shared_ptr<const Tokenizer> tokenizer,
               std::chrono::steady_clock::time_point start)
      : batch_(request.batch),
        text_(settings.text),
        text_in_logprobs_(request.text_in_logprobs && settings.text),
        return_prompt_ids_(request.return_prompt_ids),
        incremental_(settings.incremental_streaming_output),
        weight_version_(settings.weight_version),
        samples_(static_cast<size_t>(request.job.samples)),
        tokenizer_(std::move(tokenizer)),
        start_(start),
        rendered_(request.job.sequences()) {
    for (const auto& prompt : request.job.prompts) logprob_.push_back(prompt.logprob);
  }

  Shape error_shape() const override { return Shape::kNative; }
  void set_prompts(std::vector<std::vector<int32_t>> ids) override { prompt_ids_ = std::move(ids); }

  void append_chunk(Events& events, size_t index, const Choice& choice) override {
    std::string& event = events.emplace_back("data: ");
    write(event, index, choice, batch_);
    event += "\n\n";
    if (!incremental_) return;
    Rendered& r = rendered_[index];
    r = Rendered{
        .input = std::move(r.input), .text_done = r.text_done, .tokens_done = r.tokens_done};
  }
  void append_closing(Events&, const std::vector<Choice>&) override {}

  std::string answer(const std::vector<Choice>& choices) override {
    std::string out;
    if (batch_) out += '[';
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) out += ',';
      write(out, i, choices[i], false);
    }
    if (batch_) out += ']';
    return out;
  }

 private:
  const LogprobOptions& logprob(size_t index) const { return logprob_[index / samples_]; }

  void write_triple(JsonWriter& out, const TokenLogprob& token) const {
    out.begin_array();
    token.logprob ? out.number(*token.logprob) : out.null();
    out.integer(token.id);
    text_in_logprobs_ ? out.string(token_text(*tokenizer_, token.id)) : out.null();
    out.end_array();
  }
  void write_triples(JsonWriter& out, const std::vector<TokenLogprob>& tokens) const {
    out.begin_array();
    for (const auto& token : tokens) write_triple(out, token);
    out.end_array();
  }

  void render_new(Rendered& r, const Choice& choice, const LogprobOptions& options) const {
    append_escaped(r.text, std::string_view(choice.text()).substr(r.text_done));
    r.text_done = choice.text().size();
    JsonWriter ids = r.ids.writer(), logprobs = r.logprobs.writer(), top = r.top.writer(),
               chosen = r.chosen.writer();
    for (; r.tokens_done < choice.ids().size(); ++r.tokens_done, ++r.tokens_shown) {
      ids.integer(choice.ids()[r.tokens_done]);
      if (r.tokens_done >= choice.output_logprobs().size()) continue;
      const PositionLogprobs& position = choice.output_logprobs()[r.tokens_done];
      write_triple(logprobs, position.token);
      if (options.top_n > 0) write_triples(top, position.top);
      if (!options.token_ids.empty()) write_triples(chosen, position.chosen);
    }
  }

  // Lists over prompt positions; null where there was nothing to condition on.
  std::string render_input(const Choice& choice, const LogprobOptions& options) const {
    GrowingList tokens, top, chosen;
    JsonWriter token_out = tokens.writer(), top_out = top.writer(), chosen_out = chosen.writer();
    for (const auto& position : choice.input_logprobs()) {
      write_triple(token_out, position.token);
      const bool known = position.token.logprob.has_value();
      known ? write_triples(top_out, position.top) : void(top_out.null());
      known ? write_triples(chosen_out, position.chosen) : void(chosen_out.null());
    }
    std::string json = ",\"input_token_logprobs\":" + tokens.text();
    if (options.top_n > 0) json += ",\"input_top_logprobs\":" + top.text();
    if (!options.token_ids.empty()) json += ",\"input_token_ids_logprobs\":" + chosen.text();
    return json;
  }

  void write_logprobs(std::string& out, const Rendered& r, const LogprobOptions& options) const {
    out += r.input;
    out += fmt::format(",\"output_token_logprobs\":[{}],\"output_token_logprobs_length\":{}",
                       r.logprobs.json, r.tokens_shown);
    if (options.top_n > 0) out += fmt::format(",\"output_top_logprobs\":[{}]", r.top.json);
    if (!options.token_ids.empty()) {
      out += fmt::format(",\"output_token_ids_logprobs\":[{}]", r.chosen.json);
    }
  }

  void write(std::string& out, size_t index, const Choice& choice, bool with_index) {
    Rendered& r = rendered_[index];
    const LogprobOptions& options = logprob(index);
    render_new(r, choice, options);
    if (options.enabled && r.input.empty()) r.input = render_input(choice, options);
    out.reserve(out.size() + r.text.size() + r.ids.json.size() + r.logprobs.json.size() + 512);
    out += '{';
    if (text_) {
      out += "\"text\":\"";
      out += r.text;
      out += "\",";
    }
    out += "\"output_ids\":[";
    out += r.ids.json;
    out += "],\"meta_info\":{";
    JsonWriter meta(out);
    write_meta_info(meta, choice, weight_version_(), start_);
    if (options.enabled) write_logprobs(out, r, options);
    out += '}';
    if (return_prompt_ids_) write_prompt_ids(out, index / samples_);
    if (with_index) out += fmt::format(",\"index\":{}", index);
    out += '}';
  }

  void write_prompt_ids(std::string& text, size_t prompt) const {
    JsonWriter out(text);
    out.key("prompt_token_ids").begin_array();
    for (const int32_t id : prompt_ids_[prompt]) out.integer(id);
    out.end_array();
  }

  bool batch_, text_, text_in_logprobs_, return_prompt_ids_, incremental_;
  std::function<std::string()> weight_version_;
  size_t samples_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::chrono::steady_clock::time_point start_;
  std::vector<Rendered> rendered_;
  std::vector<LogprobOptions> logprob_;  // per prompt
  std::vector<std::vector<int32_t>> prompt_ids_;
};

}  // namespace

std::unique_ptr<Format> native_format(const NativeRequest& request, const Settings& settings,
                                      std::shared_ptr<const Tokenizer> tokenizer,
                                      std::chrono::steady_clock::time_point start) {
  return std::make_unique<NativeFormat>(request, settings, std::move(tokenizer), start);
}

}  // namespace fathom::api
