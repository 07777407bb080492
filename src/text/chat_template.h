// Jinja chat templates through the Rust `minijinja` crate, with Python's tojson, string methods and
// limits on work and output. Immutable after compile, any thread may render.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fathom {

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
};

}  // namespace fathom
