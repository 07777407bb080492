// SSE events with a name, as Anthropic's API and OpenAI's Responses use them:
//   event: NAME
//   data: {"type":"NAME",...}
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "api/json_writer.h"

namespace fathom::api {

class NamedEvent {
 public:
  explicit NamedEvent(std::string_view name)
      : text_(fmt::format("event: {}\ndata: ", name)), out_(text_) {
    out_.begin_object().key("type").string(name);
  }
  NamedEvent(const NamedEvent&) = delete;

  JsonWriter& out() { return out_; }  // inside the object
  std::string finish() {
    out_.end_object();
    return std::move(text_) + "\n\n";
  }

 private:
  std::string text_;
  JsonWriter out_;
};

}  // namespace fathom::api
