#include "text/chat_template.h"

#include "text/builtin_templates.h"
#include "text/rust_call.h"

namespace fathom {
namespace {

class RustTemplate final : public ChatTemplate {
 public:
  RustTemplate(ft_template* handle, std::string_view source) : handle_(handle), source_(source) {}
  ~RustTemplate() override { ft_template_free(handle_); }

  Result<std::string> render(std::string_view context_json) const override {
    RustBuffer out;
    if (ft_template_render(handle_, context_json.data(), context_json.size(), out.out()) != 0) {
      return invalid("{}", rust_error());
    }
    return std::string(out.text());
  }
  std::string_view source() const override { return source_; }

 private:
  ft_template* handle_;
  std::string source_;
};

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::compile(std::string_view source,
                                                                  std::string_view bos_token,
                                                                  std::string_view eos_token) {
  ft_template* handle = ft_template_compile(source.data(), source.size(), bos_token.data(),
                                            bos_token.size(), eos_token.data(), eos_token.size());
  if (!handle) return invalid("{}", rust_error());
  return std::make_shared<RustTemplate>(handle, source);
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
