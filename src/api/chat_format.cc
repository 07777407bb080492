#include <simdjson.h>

#include "api/chat.h"
#include "api/token_text.h"

namespace fathom::api {
namespace {

constexpr std::string_view kChunk = "chat.completion.chunk";

struct Sent {
  bool role = false;
  size_t text = 0, tokens = 0;
};

class ChatFormat final : public Format {
 public:
  ChatFormat(const ChatRequest& request, const Settings& settings,
             std::shared_ptr<const Tokenizer> tokenizer)
      : options_(request.options),
        logprobs_(request.logprobs),
        weight_version_(settings.weight_version),
        tokenizer_(std::move(tokenizer)),
        sent_(request.job.sequences()) {}

  Shape error_shape() const override { return Shape::kOpenAi; }
  void set_prompts(std::vector<std::vector<int32_t>> ids) override { prompt_ids_ = std::move(ids); }

  void append_chunk(Events& events, size_t index, const Choice& choice) override {
    Sent& sent = sent_[index];
    if (!sent.role) {
      sent.role = true;
      add_event(events, index, choice, R"({"role":"assistant","content":""})", false, nullptr);
    }
    const std::string_view text = std::string_view(choice.text()).substr(sent.text);
    const bool new_tokens = choice.ids().size() > sent.tokens;
    if (text.empty() && !(new_tokens && (logprobs_ || options_.return_token_ids))) return;
    std::string delta;
    JsonWriter out(delta);
    out.begin_object().key("content").string(text).end_object();
    add_event(events, index, choice, delta, true, nullptr);
    sent.text = choice.text().size();
    sent.tokens = choice.ids().size();
  }

  void append_closing(Events& events, const std::vector<Choice>& choices) override {
    for (size_t i = 0; i < choices.size(); ++i) {
      add_event(events, i, choices[i], "{}", false, &choices[i].finish());
    }
    if (options_.include_usage) {
      events.push_back(usage_event(options_, kChunk, usage_of(choices, choices.size())));
    }
  }

  std::string answer(const std::vector<Choice>& choices) override {
    std::string body;
    JsonWriter out(body);
    open_response(out, options_, "chat.completion");
    out.key("choices").begin_array();
    for (size_t i = 0; i < choices.size(); ++i) {
      const Choice& choice = choices[i];
      out.begin_object().key("index").integer(static_cast<int64_t>(i));
      out.key("message").begin_object().key("role").string("assistant");
      out.key("content").string(choice.text()).end_object();
      out.key("logprobs");
      logprobs_ ? write_logprobs(out, choice, 0) : void(out.null());
      write_finish(out, choice.finish());
      if (options_.return_token_ids) write_ids(out, "token_ids", choice.ids());
      if (options_.return_prompt_ids) write_ids(out, "prompt_token_ids", prompt_ids_[0]);
      out.end_object();
    }
    out.end_array();
    close_response(out, options_, usage_of(choices, choices.size()), weight_version_);
    return body;
  }

 private:
  // `finish`: of the last event of a choice, else null.
  void add_event(Events& events, size_t index, const Choice& choice, std::string_view delta,
                 bool with_tokens, const std::optional<FinishReason>* finish) const {
    const size_t from = sent_[index].tokens;
    std::string& event = events.emplace_back("data: ");
    JsonWriter out(event);
    open_response(out, options_, kChunk);
    out.key("choices").begin_array().begin_object();
    out.key("index").integer(static_cast<int64_t>(index));
    out.key("delta").raw(delta);
    out.key("logprobs");
    logprobs_&& with_tokens ? write_logprobs(out, choice, from) : void(out.null());
    write_finish(out, finish ? *finish : std::nullopt);
    if (options_.return_token_ids) {
      write_ids(out, "token_ids",
                with_tokens ? std::span(choice.ids()).subspan(from) : std::span<const int32_t>());
    }
    out.end_object().end_array().key("usage");
    options_.continuous_usage ? write_usage(out, usage_of(choice)) : void(out.null());
    out.end_object();
    event += "\n\n";
  }

  void write_token(JsonWriter& out, const TokenLogprob& token) const {
    out.key("token").string(token_text(*tokenizer_, token.id));
    out.key("bytes").begin_array();
    for (const char c : tokenizer_->token_bytes(token.id)) {
      out.integer(static_cast<unsigned char>(c));
    }
    out.end_array();
    out.key("logprob").number(token.logprob.value_or(0.0f));
  }

  void write_logprobs(JsonWriter& out, const Choice& choice, size_t from) const {
    out.begin_object().key("content").begin_array();
    for (size_t i = from; i < choice.output_logprobs().size(); ++i) {
      const PositionLogprobs& position = choice.output_logprobs()[i];
      out.begin_object();
      write_token(out, position.token);
      out.key("top_logprobs").begin_array();
      for (const auto& token : position.top) {
        out.begin_object();
        write_token(out, token);
        out.end_object();
      }
      out.end_array().end_object();
    }
    out.end_array().end_object();
  }

  OpenAiOptions options_;
  bool logprobs_;
  std::string weight_version_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<Sent> sent_;  // per choice
  std::vector<std::vector<int32_t>> prompt_ids_;
};

}  // namespace

std::unique_ptr<Format> chat_format(const ChatRequest& request, const Settings& settings,
                                    std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_unique<ChatFormat>(request, settings, std::move(tokenizer));
}

}  // namespace fathom::api
