// Jinja chat templates through the Rust `minijinja` crate, with Python's tojson, printing and
// string methods and limits on work and output. Immutable after compile, any thread may render.
// Chats as clients send them go through render_chat (text/chat_messages.h).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom {

// What a template expects of its input, judged by its source.
struct TemplateHabits {
  bool mentions_tools = false;       // else function descriptions would never reach the model
  bool wants_content_parts = false;  // loops over the parts of a message's content
  bool wants_argument_objects =
      false;  // tojson or items() of call arguments, without a string case
};

class ChatTemplate {
 public:
  // Built-in templates by name: "deepseek", "deepseek-v3", "deepseek-r1", "deepseek-v3.1"...
  static Result<std::shared_ptr<const ChatTemplate>> builtin(std::string_view name);
  static Result<std::shared_ptr<const ChatTemplate>> compile(std::string_view source,
                                                             std::string_view bos_token,
                                                             std::string_view eos_token);
  virtual ~ChatTemplate() = default;

  // context_json: {"messages": [...], "tools": [...]?, "add_generation_prompt": bool, kwargs...}.
  // kInvalid with the template's own message when it raises, or when it exceeds its limits.
  virtual Result<std::string> render(std::string_view context_json) const = 0;
  virtual std::string_view source() const = 0;
  virtual const TemplateHabits& habits() const = 0;
  // The template for requests with tools: this one, or the built-in one of the same family when
  // this one ignores tools.
  virtual const ChatTemplate& for_tools() const = 0;
};

// Of a tokenizer_config.json whose chat_template is a list of {name, template}. kNotFound lists the
// names that there are.
Result<std::string> named_template(std::string_view tokenizer_config, std::string_view name);

}  // namespace fathom
