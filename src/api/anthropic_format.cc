#include "api/anthropic.h"
#include "api/blocks.h"
#include "api/named_event.h"

namespace fathom::api {
namespace {

std::string_view stop_reason(const FinishReason& finish, bool calls) {
  switch (finish.kind) {
    case FinishReason::Kind::kLength:
      return "max_tokens";
    case FinishReason::Kind::kStop:
      if (std::holds_alternative<std::string>(finish.matched)) return "stop_sequence";
      return calls ? "tool_use" : "end_turn";
    case FinishReason::Kind::kAbort:
      return "end_turn";
  }
  return "end_turn";
}

void write_stop(JsonWriter& out, const FinishReason& finish, bool calls) {
  out.key("stop_reason").string(stop_reason(finish, calls));
  const auto* text = std::get_if<std::string>(&finish.matched);
  out.key("stop_sequence");
  text ? out.string(*text) : out.null();
}

void write_usage_fields(JsonWriter& out, const Choice& choice, int64_t output) {
  out.key("input_tokens").integer(choice.prompt_tokens() - choice.cached_tokens());
  out.key("cache_creation_input_tokens").integer(0);
  out.key("cache_read_input_tokens").integer(choice.cached_tokens());
  out.key("output_tokens").integer(output);
}

// `whole`: with its text; else as it is announced in a stream.
void write_block(JsonWriter& out, const Block& block, bool whole) {
  const std::string_view text = whole ? std::string_view(block.text) : std::string_view();
  out.begin_object();
  switch (block.kind) {
    case Block::Kind::kThinking:
      out.key("type").string("thinking").key("thinking").string(text);
      out.key("signature").string("");
      break;
    case Block::Kind::kText:
      out.key("type").string("text").key("text").string(text);
      break;
    case Block::Kind::kCall:
      out.key("type").string("tool_use").key("id").string(block.id);
      out.key("name").string(block.name).key("input").raw(text.empty() ? "{}" : text);
      break;
  }
  out.end_object();
}

class MessagesFormat final : public Format, private BlockListener {
 public:
  explicit MessagesFormat(const ChatRequest& request)
      : options_(request.options), blocks_("toolu_", *this) {}

  Shape error_shape() const override { return Shape::kAnthropic; }
  void set_prompts(std::vector<std::vector<int32_t>>) override {}

  void append_chunk(Events& events, size_t, const Choice& choice) override {
    events_ = &events;
    if (!started_) start(choice);
    blocks_.read(choice);
  }

  void append_closing(Events& events, const std::vector<Choice>& choices) override {
    const Choice& choice = choices[0];
    events_ = &events;
    blocks_.finish();
    NamedEvent delta("message_delta");
    delta.out().key("delta").begin_object();
    write_stop(delta.out(), *choice.finish(), blocks_.has_calls());
    delta.out().end_object().key("usage").begin_object();
    write_usage_fields(delta.out(), choice, choice.completion_tokens());
    delta.out().end_object();
    events.push_back(delta.finish());
    events.push_back(NamedEvent("message_stop").finish());
  }

  void append_failure(Events& events, const Failure& failure) override {
    events_ = &events;
    blocks_.finish();
    events.push_back("event: error\ndata: " + error_body(failure, Shape::kAnthropic) + "\n\n");
    events.push_back(NamedEvent("message_stop").finish());
  }
  std::string_view terminator() const override { return ""; }

  std::string answer(const std::vector<Choice>& choices) override {
    const Choice& choice = choices[0];
    Events unused;
    events_ = &unused;
    blocks_.read_whole(choice);
    blocks_.finish();
    std::string body;
    JsonWriter out(body);
    open_message(out);
    for (const Block& block : blocks_.blocks()) write_block(out, block, true);
    out.end_array();
    write_stop(out, *choice.finish(), blocks_.has_calls());
    out.key("usage").begin_object();
    write_usage_fields(out, choice, choice.completion_tokens());
    out.end_object().end_object();
    return body;
  }

 private:
  void open_message(JsonWriter& out) const {
    out.begin_object().key("id").string(options_.id).key("type").string("message");
    out.key("role").string("assistant").key("model").string(options_.model);
    out.key("content").begin_array();
  }

  void start(const Choice& choice) {
    started_ = true;
    NamedEvent event("message_start");
    JsonWriter& out = event.out();
    out.key("message");
    open_message(out);
    out.end_array().key("stop_reason").null().key("stop_sequence").null();
    out.key("usage").begin_object();
    write_usage_fields(out, choice, 0);
    out.end_object().end_object();
    events_->push_back(event.finish());
  }

  void opened(size_t index, const Block& block) override {
    NamedEvent event("content_block_start");
    event.out().key("index").integer(static_cast<int64_t>(index)).key("content_block");
    write_block(event.out(), block, false);
    events_->push_back(event.finish());
  }

  void grew(size_t index, const Block& block, std::string_view piece) override {
    NamedEvent event("content_block_delta");
    JsonWriter& out = event.out();
    out.key("index").integer(static_cast<int64_t>(index)).key("delta").begin_object();
    switch (block.kind) {
      case Block::Kind::kThinking:
        out.key("type").string("thinking_delta").key("thinking").string(piece);
        break;
      case Block::Kind::kText:
        out.key("type").string("text_delta").key("text").string(piece);
        break;
      case Block::Kind::kCall:
        out.key("type").string("input_json_delta").key("partial_json").string(piece);
        break;
    }
    out.end_object();
    events_->push_back(event.finish());
  }

  void closed(size_t index, const Block&) override {
    NamedEvent event("content_block_stop");
    event.out().key("index").integer(static_cast<int64_t>(index));
    events_->push_back(event.finish());
  }

  OpenAiOptions options_;
  BlockList blocks_;
  Events* events_ = nullptr;  // of the call that is under way
  bool started_ = false;
};

}  // namespace

std::unique_ptr<Format> messages_format(const ChatRequest& request) {
  return std::make_unique<MessagesFormat>(request);
}

std::string token_count_answer(size_t tokens) {
  return fmt::format(R"({{"input_tokens":{}}})", tokens);
}

}  // namespace fathom::api
