#include <algorithm>

#include "api/chat.h"
#include "api/token_text.h"

namespace fathom::api {
namespace {

constexpr std::string_view kChunk = "chat.completion.chunk";

using Kind = DialectEvent::Kind;

struct SentChoice {
  bool role = false;
  size_t events = 0, tokens = 0;
};

// The end of a choice; null while it is unfinished.
struct FinishedBy {
  const FinishReason* reason = nullptr;
  bool called_tools = false;
};

class ChatFormat final : public Format {
 public:
  ChatFormat(const ChatRequest& request, const Settings& settings,
             std::shared_ptr<const Tokenizer> tokenizer)
      : options_(request.options),
        logprobs_(request.logprobs),
        with_reasoning_(settings.reasoning != nullptr),
        weight_version_(settings.weight_version),
        tokenizer_(std::move(tokenizer)),
        sent_(request.job.sequences()) {}

  Shape error_shape() const override { return Shape::kOpenAi; }
  void set_prompts(std::vector<std::vector<int32_t>> ids) override { prompt_ids_ = std::move(ids); }

  void append_chunk(Events& events, size_t index, const Choice& choice) override {
    SentChoice& sent = sent_[index];
    if (!sent.role) {
      add_event(events, index, choice, first_delta(), false);
      sent.role = true;
    }
    const DialectEvents& pieces = choice.events();
    while (sent.events < pieces.size()) {
      const std::string delta = next_delta(index, pieces, sent.events);
      if (delta.empty()) continue;
      add_event(events, index, choice, delta, true);
      sent.tokens = choice.ids().size();  // they ride on the first piece of what they made
    }
    const bool tokens_left = choice.ids().size() > sent.tokens;
    if (tokens_left && (logprobs_ || options_.return_token_ids)) {
      add_event(events, index, choice, empty_delta(), true);
      sent.tokens = choice.ids().size();
    }
  }

  void append_closing(Events& events, const std::vector<Choice>& choices) override {
    for (size_t i = 0; i < choices.size(); ++i) {
      const FinishedBy finish{&*choices[i].finish(), choices[i].called_tools()};
      add_event(events, i, choices[i], empty_delta(), false, finish);
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
      const GatheredOutput output = choice.gathered();
      out.begin_object().key("index").integer(static_cast<int64_t>(i));
      out.key("message");
      write_message(out, i, output);
      out.key("logprobs");
      logprobs_ ? write_logprobs(out, choice, 0) : void(out.null());
      write_finish(out, {&*choice.finish(), !output.calls.empty()});
      if (options_.return_token_ids) write_ids(out, "token_ids", choice.ids());
      if (options_.return_prompt_ids) write_ids(out, "prompt_token_ids", prompt_ids_[0]);
      write_meta_info(out, choice, options_, weight_version_());
      out.end_object();
    }
    out.end_array();
    close_response(out, options_, usage_of(choices, choices.size()), weight_version_());
    return body;
  }

 private:
  void write_message(JsonWriter& out, size_t index, const GatheredOutput& output) const {
    out.begin_object().key("role").string("assistant").key("content").string(output.content);
    if (with_reasoning_) {
      out.key("reasoning_content");
      output.reasoning.empty() ? out.null() : out.string(output.reasoning);
    }
    if (!output.calls.empty()) {
      out.key("tool_calls").begin_array();
      for (size_t c = 0; c < output.calls.size(); ++c) {
        open_call(out, index, static_cast<int32_t>(c), true).key("function").begin_object();
        out.key("name").string(output.calls[c].name);
        out.key("arguments").string(output.calls[c].arguments).end_object().end_object();
      }
      out.end_array();
    }
    out.end_object();
  }

  std::string first_delta() const {
    return with_reasoning_ ? R"({"role":"assistant","content":"","reasoning_content":null})"
                           : R"({"role":"assistant","content":""})";
  }
  std::string empty_delta() const {
    return with_reasoning_ ? R"({"reasoning_content":null})" : "{}";
  }

  // The pieces of one kind from `at` on, which moves behind them; "" if they are nothing to send.
  std::string next_delta(size_t index, const DialectEvents& pieces, size_t& at) const {
    const DialectEvent& first = pieces[at++];
    if (first.kind == Kind::kCallEnd) return "";
    std::string text = first.text;
    if (first.kind != Kind::kCallBegin) {
      for (; at < pieces.size() && pieces[at].kind == first.kind; ++at) text += pieces[at].text;
    }
    std::string delta;
    JsonWriter out(delta);
    out.begin_object();
    switch (first.kind) {
      case Kind::kReasoning:
        out.key("reasoning_content").string(text);
        break;
      case Kind::kContent:
        out.key("content").string(text);
        if (with_reasoning_) out.key("reasoning_content").null();
        break;
      default:
        out.key("content").null();
        if (with_reasoning_) out.key("reasoning_content").null();
        out.key("tool_calls").begin_array();
        const bool begins = first.kind == Kind::kCallBegin;
        open_call(out, index, first.call, begins).key("function").begin_object().key("name");
        begins ? out.string(text) : out.null();
        out.key("arguments").string(begins ? "" : text).end_object().end_object().end_array();
    }
    out.end_object();
    return delta;
  }

  // {"index","id","type" of a call, left open. Only its first piece carries the id.
  JsonWriter& open_call(JsonWriter& out, size_t index, int32_t call, bool with_id) const {
    out.begin_object().key("index").integer(call).key("id");
    with_id ? out.string(call_id(index, call)) : out.null();
    return out.key("type").string("function");
  }

  // call_<24 hex digits>, the same whenever it is asked for.
  std::string call_id(size_t index, int32_t call) const {
    return fmt::format("call_{}{:04x}{:04x}", call_ids_, index & 0xffff, call & 0xffff);
  }

  void add_event(Events& events, size_t index, const Choice& choice, std::string_view delta,
                 bool with_tokens, FinishedBy finish = {}) const {
    const size_t from = sent_[index].tokens;
    std::string& event = events.emplace_back("data: ");
    JsonWriter out(event);
    open_response(out, options_, kChunk);
    out.key("choices").begin_array().begin_object();
    out.key("index").integer(static_cast<int64_t>(index));
    out.key("delta").raw(delta);
    out.key("logprobs");
    logprobs_&& with_tokens ? write_logprobs(out, choice, from) : void(out.null());
    write_finish(out, finish);
    if (options_.return_token_ids) {
      write_ids(out, "token_ids",
                with_tokens ? std::span(choice.ids()).subspan(from) : std::span<const int32_t>());
    }
    if (options_.return_prompt_ids && !sent_[index].role) {
      write_ids(out, "prompt_token_ids", prompt_ids_[0]);
    }
    if (finish.reason) write_meta_info(out, choice, options_, weight_version_());
    out.end_object().end_array().key("usage");
    options_.continuous_usage ? write_usage(out, usage_of(choice)) : void(out.null());
    out.end_object();
    event += "\n\n";
  }

  // An answer that ends by itself after calls waits for their results.
  static void write_finish(JsonWriter& out, FinishedBy finish) {
    if (!finish.reason) return api::write_finish(out, std::nullopt);
    if (!finish.called_tools || finish.reason->kind != FinishReason::Kind::kStop) {
      return api::write_finish(out, *finish.reason);
    }
    out.key("finish_reason").string("tool_calls").key("matched_stop").null();
  }

  void write_logprobs(JsonWriter& out, const Choice& choice, size_t from) const {
    out.begin_object().key("content");
    const std::span all(choice.output_logprobs());
    write_token_logprobs(out, *tokenizer_, all.subspan(std::min(from, all.size())));
    out.end_object();
  }

  OpenAiOptions options_;
  bool logprobs_;
  bool with_reasoning_;
  std::string call_ids_ = random_id().substr(0, 16);
  std::function<std::string()> weight_version_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<SentChoice> sent_;  // per choice
  std::vector<std::vector<int32_t>> prompt_ids_;
};

}  // namespace

std::unique_ptr<Format> chat_format(const ChatRequest& request, const Settings& settings,
                                    std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_unique<ChatFormat>(request, settings, std::move(tokenizer));
}

}  // namespace fathom::api
