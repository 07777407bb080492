#include <algorithm>

#include "api/blocks.h"
#include "api/named_event.h"
#include "api/responses.h"
#include "api/token_text.h"

namespace fathom::api {
namespace {

std::string_view prefix_of(Block::Kind kind) {
  switch (kind) {
    case Block::Kind::kThinking:
      return "rs";
    case Block::Kind::kText:
      return "msg";
    case Block::Kind::kCall:
      return "fc";
  }
  return "msg";
}

// `logprobs`: of the text, JSON.
void write_part(JsonWriter& out, Block::Kind kind, std::string_view text,
                std::string_view logprobs) {
  out.begin_object();
  if (kind == Block::Kind::kThinking) {
    out.key("type").string("reasoning_text").key("text").string(text);
  } else {
    out.key("type").string("output_text").key("text").string(text);
    out.key("annotations").begin_array().end_array();
    out.key("logprobs").raw(logprobs);
  }
  out.end_object();
}

// `whole`: with its text; else as it is announced in a stream.
void write_item(JsonWriter& out, const Block& block, const std::string& id, bool whole,
                std::string_view status, std::string_view logprobs) {
  out.begin_object().key("id").string(id);
  switch (block.kind) {
    case Block::Kind::kThinking:
      out.key("type").string("reasoning").key("summary").begin_array().end_array();
      break;
    case Block::Kind::kText:
      out.key("type").string("message").key("role").string("assistant");
      break;
    case Block::Kind::kCall:
      out.key("type").string("function_call").key("call_id").string(block.id);
      out.key("name").string(block.name);
      out.key("arguments").string(whole ? std::string_view(block.text) : std::string_view());
      break;
  }
  if (block.kind != Block::Kind::kCall) {
    out.key("content").begin_array();
    if (whole) write_part(out, block.kind, block.text, logprobs);
    out.end_array();
  }
  out.key("status").string(status).end_object();
}

void write_responses_usage(JsonWriter& out, const Choice& choice) {
  const int64_t prompt = choice.prompt_tokens(), completion = choice.completion_tokens();
  out.begin_object().key("input_tokens").integer(prompt);
  out.key("input_tokens_details").begin_object();
  out.key("cached_tokens").integer(choice.cached_tokens()).end_object();
  out.key("output_tokens").integer(completion);
  out.key("output_tokens_details").begin_object();
  out.key("reasoning_tokens").integer(choice.reasoning_tokens()).end_object();
  out.key("total_tokens").integer(prompt + completion).end_object();
}

class ResponsesFormat final : public Format, private BlockListener {
 public:
  ResponsesFormat(const ResponsesRequest& request, std::shared_ptr<const Tokenizer> tokenizer)
      : options_(request.chat.options),
        echo_(request.echo),
        with_logprobs_(request.chat.logprobs),
        tokenizer_(std::move(tokenizer)),
        blocks_("call_", *this) {}

  Shape error_shape() const override { return Shape::kNested; }
  void set_prompts(std::vector<std::vector<int32_t>>) override {}

  void append_chunk(Events& events, size_t, const Choice& choice) override {
    events_ = &events;
    if (!started_) start();
    choice_ = &choice;
    blocks_.read(choice);
  }

  void append_closing(Events& events, const std::vector<Choice>& choices) override {
    events_ = &events;
    choice_ = &choices[0];
    set_status(choices[0]);
    blocks_.finish();
    add_response_event(status_ == "completed" ? "response.completed" : "response.incomplete",
                       &choices[0], nullptr);
  }

  void append_failure(Events& events, const Failure& failure) override {
    events_ = &events;
    status_ = "incomplete";
    blocks_.finish();
    status_ = "failed";
    add_response_event("response.failed", nullptr, &failure);
  }
  std::string_view terminator() const override { return ""; }

  std::string answer(const std::vector<Choice>& choices) override {
    Events unused;
    events_ = &unused;
    choice_ = &choices[0];
    blocks_.read_whole(choices[0]);
    set_status(choices[0]);
    blocks_.finish();
    std::string body;
    JsonWriter out(body);
    write_response(out, &choices[0], nullptr);
    return body;
  }

 private:
  void set_status(const Choice& choice) {
    const bool whole = choice.finish()->kind == FinishReason::Kind::kStop;
    status_ = whole ? "completed" : "incomplete";
    by_length_ = choice.finish()->kind == FinishReason::Kind::kLength;
  }

  void start() {
    started_ = true;
    add_response_event("response.created", nullptr, nullptr);
    add_response_event("response.in_progress", nullptr, nullptr);
  }

  // `choice`: of a response that has ended.
  void write_response(JsonWriter& out, const Choice* choice, const Failure* failure) const {
    out.begin_object().key("id").string(options_.id).key("object").string("response");
    out.key("created_at").integer(options_.created).key("status").string(status_);
    out.key("error");
    if (failure) {
      out.begin_object().key("code").string("server_error");
      out.key("message").string(failure->message).end_object();
    } else {
      out.null();
    }
    out.key("incomplete_details");
    if (choice && status_ == "incomplete") {
      out.begin_object().key("reason");
      out.string(by_length_ ? "max_output_tokens" : "aborted").end_object();
    } else {
      out.null();
    }
    out.key("model").string(options_.model).key("output").begin_array();
    if (choice || failure) {
      for (size_t i = 0; i < ids_.size(); ++i) {
        write_item(out, blocks_.blocks()[i], ids_[i], true, statuses_[i], logprobs_[i]);
      }
    }
    out.end_array().key("usage");
    choice ? write_responses_usage(out, *choice) : void(out.null());
    out.raw(echo_).end_object();
  }

  // Of the tokens behind the thoughts, from the `from`-th token of the answer on; JSON. "[]" unless
  // they are asked for.
  std::string logprobs_from(size_t from) const {
    if (!with_logprobs_ || !choice_) return "[]";
    const std::span all(choice_->output_logprobs());
    from = std::min(std::max(from, static_cast<size_t>(choice_->reasoning_tokens())), all.size());
    std::string text;
    JsonWriter out(text);
    write_token_logprobs(out, *tokenizer_, all.subspan(from));
    return text;
  }

  // Events are numbered.
  void push(NamedEvent& event) {
    event.out().key("sequence_number").integer(sequence_++);
    events_->push_back(event.finish());
  }

  void add_response_event(std::string_view name, const Choice* choice, const Failure* failure) {
    NamedEvent event(name);
    event.out().key("response");
    write_response(event.out(), choice, failure);
    push(event);
  }

  void add_item_event(std::string_view name, size_t index, const Block& block, bool whole,
                      std::string_view status) {
    NamedEvent event(name);
    event.out().key("output_index").integer(static_cast<int64_t>(index)).key("item");
    write_item(event.out(), block, ids_[index], whole, status, logprobs_[index]);
    push(event);
  }

  // An event inside item `index`; `key` holds `text`, "" for a content part.
  void add_inner_event(std::string_view name, size_t index, const Block& block,
                       std::string_view key, std::string_view text, std::string_view logprobs) {
    NamedEvent event(name);
    JsonWriter& out = event.out();
    out.key("item_id").string(ids_[index]);
    out.key("output_index").integer(static_cast<int64_t>(index));
    if (block.kind != Block::Kind::kCall) out.key("content_index").integer(0);
    if (key.empty()) {
      out.key("part");
      write_part(out, block.kind, text, logprobs);
    } else {
      out.key(key).string(text);
      if (block.kind == Block::Kind::kText) out.key("logprobs").raw(logprobs);
    }
    push(event);
  }

  void opened(size_t index, const Block& block) override {
    ids_.push_back(fmt::format("{}_{}", prefix_of(block.kind), random_id()));
    statuses_.emplace_back("in_progress");
    logprobs_.emplace_back("[]");
    add_item_event("response.output_item.added", index, block, false, "in_progress");
    if (block.kind == Block::Kind::kCall) return;
    add_inner_event("response.content_part.added", index, block, "", "", "[]");
  }

  void grew(size_t index, const Block& block, std::string_view piece) override {
    switch (block.kind) {
      case Block::Kind::kThinking:
        return add_inner_event("response.reasoning_text.delta", index, block, "delta", piece, "");
      case Block::Kind::kText:
        // Tokens ride on the first piece of what they made.
        add_inner_event("response.output_text.delta", index, block, "delta", piece,
                        logprobs_from(sent_tokens_));
        sent_tokens_ = choice_->ids().size();
        return;
      case Block::Kind::kCall:
        return add_inner_event("response.function_call_arguments.delta", index, block, "delta",
                               piece, "");
    }
  }

  void closed(size_t index, const Block& block) override {
    // What stands open when the answer is cut is incomplete itself.
    statuses_[index] = status_ == "incomplete" ? "incomplete" : "completed";
    switch (block.kind) {
      case Block::Kind::kThinking:
        add_inner_event("response.reasoning_text.done", index, block, "text", block.text, "");
        break;
      case Block::Kind::kText:
        logprobs_[index] = logprobs_from(0);
        add_inner_event("response.output_text.done", index, block, "text", block.text,
                        logprobs_[index]);
        break;
      case Block::Kind::kCall:
        add_arguments_done(index, block);
        break;
    }
    if (block.kind != Block::Kind::kCall) {
      add_inner_event("response.content_part.done", index, block, "", block.text, logprobs_[index]);
    }
    add_item_event("response.output_item.done", index, block, true, statuses_[index]);
  }

  void add_arguments_done(size_t index, const Block& block) {
    NamedEvent event("response.function_call_arguments.done");
    event.out().key("item_id").string(ids_[index]);
    event.out().key("output_index").integer(static_cast<int64_t>(index));
    event.out().key("name").string(block.name).key("arguments").string(block.text);
    push(event);
  }

  OpenAiOptions options_;
  std::string echo_;
  bool with_logprobs_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  BlockList blocks_;
  std::vector<std::string> ids_;       // of the output items
  std::vector<std::string> statuses_;  // likewise
  std::vector<std::string> logprobs_;  // likewise; JSON
  const Choice* choice_ = nullptr;     // of the call that is under way
  size_t sent_tokens_ = 0;             // whose logprobs have been sent
  std::string status_ = "in_progress";
  bool by_length_ = false;
  Events* events_ = nullptr;  // of the call that is under way
  int64_t sequence_ = 0;
  bool started_ = false;
};

}  // namespace

std::unique_ptr<Format> responses_format(const ResponsesRequest& request,
                                         std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_unique<ResponsesFormat>(request, std::move(tokenizer));
}

}  // namespace fathom::api
