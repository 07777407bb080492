#include "text/chat_template.h"

#include "base/check.h"
#include "base/json.h"
#include "text/builtin_templates.h"
#include "text/rust_call.h"

namespace fathom {
namespace {

// `pattern` is ours, so it compiles.
bool matches(std::string_view source, std::string_view pattern) {
  ft_regex* regex = rust<ft_regex_compile>(pattern.data(), pattern.size());
  CHECK(regex != nullptr);
  size_t begin = 0;
  size_t end = 0;
  const bool found = rust<ft_regex_find>(regex, source.data(), source.size(), &begin, &end) == 1;
  rust<ft_regex_free>(regex);
  return found;
}

TemplateHabits habits_of(std::string_view source) {
  TemplateHabits habits;
  habits.mentions_tools = matches(source, R"(\btools\b)");
  habits.wants_content_parts =
      matches(source, R"(\{%[-+]?\s*for\s+\w+\s+in\s+[^%|(]*\bcontent\b['"]?\]?\s*[-+]?%\})");
  constexpr std::string_view kArguments = R"((\.arguments|\[['"]arguments['"]\]))";
  const std::string arguments(kArguments);
  habits.wants_argument_objects =
      matches(source, arguments + R"(\s*(\|\s*(tojson|items|dictsort)|\.items|\[))") &&
      !matches(source, arguments + R"(\s+is\s+string)");
  return habits;
}

// The built-in template whose tool turns a checkpoint's own template means; empty: none.
std::string_view family(std::string_view source) {
  if (source.find("<｜Assistant｜>") == std::string_view::npos) return "";
  if (matches(source, R"(\bthinking\b)")) return "deepseek-v3.1";
  if (source.find("</think>") != std::string_view::npos) return "deepseek-r1";
  return "deepseek-v3";
}

class RustTemplate final : public ChatTemplate {
 public:
  RustTemplate(ft_template* handle, std::string_view source)
      : handle_(handle), source_(source), habits_(habits_of(source)) {}
  ~RustTemplate() override { rust<ft_template_free>(handle_); }

  Result<std::string> render(std::string_view context_json) const override {
    RustBuffer out;
    if (rust<ft_template_render>(handle_, context_json.data(), context_json.size(), out.out()) !=
        0) {
      return invalid("{}", rust_error());
    }
    return std::string(out.text());
  }
  std::string_view source() const override { return source_; }
  const TemplateHabits& habits() const override { return habits_; }
  const ChatTemplate& for_tools() const override { return with_tools_ ? *with_tools_ : *this; }
  void set_with_tools(std::shared_ptr<const ChatTemplate> other) { with_tools_ = std::move(other); }

 private:
  ft_template* handle_;
  std::string source_;
  TemplateHabits habits_;
  std::shared_ptr<const ChatTemplate> with_tools_;
};

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::compile(std::string_view source,
                                                                  std::string_view bos_token,
                                                                  std::string_view eos_token) {
  ft_template* handle =
      rust<ft_template_compile>(source.data(), source.size(), bos_token.data(), bos_token.size(),
                                eos_token.data(), eos_token.size());
  if (!handle) return invalid("{}", rust_error());
  auto compiled = std::make_shared<RustTemplate>(handle, source);
  if (!compiled->habits().mentions_tools) {
    if (const auto other = builtin_template(family(source))) {
      compiled->set_with_tools(TRY(compile(*other, bos_token, eos_token)));
    }
  }
  return compiled;
}

Result<std::string> named_template(std::string_view tokenizer_config, std::string_view name) {
  const auto config = TRY(parse_json_object(tokenizer_config, "tokenizer_config.json"));
  std::string names;
  if (config.contains("chat_template")) {
    for (const auto& entry : config["chat_template"]) {
      if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
          !entry.contains("template") || !entry["template"].is_string()) {
        continue;
      }
      if (entry["name"] == name) return entry["template"].get<std::string>();
      names += (names.empty() ? "" : ", ") + entry["name"].get<std::string>();
    }
  }
  return fail(ErrorCode::kNotFound, "--hf-chat-template-name {}: the tokenizer has {}", name,
              names.empty() ? "no named chat templates" : "only " + names);
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::builtin(std::string_view name) {
  const auto source = builtin_template(name);
  if (!source) {
    return fail(ErrorCode::kNotFound, "'{}' is not a built-in chat template (choose from {})", name,
                kBuiltinTemplateNames);
  }
  return compile(*source, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>");
}

}  // namespace fathom
