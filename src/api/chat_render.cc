// From a parsed chat request to its prompt, and to how the answer to that prompt is read.
#include <algorithm>

#include "api/chat.h"
#include "text/chat_messages.h"
#include "text/dialects/call_grammar.h"

namespace fathom::api {
namespace {

// The end of a prompt that was given as tokens: enough to tell whether it opens thoughts.
std::string end_of(const std::vector<int32_t>& ids, const Tokenizer& tokenizer) {
  constexpr size_t kEnough = 16;
  const size_t n = std::min(ids.size(), kEnough);
  return tokenizer.decode(std::span(ids).last(n), false);
}

// Forced calls are read whatever the server was told: the grammar settles how they are written.
const ToolDialect* call_dialect(const ToolUse& use, const Settings& settings,
                                const ChatTemplate* chat_template) {
  if (settings.tools || !use.required) return settings.tools;
  const ToolDialect* told =
      chat_template ? tool_dialect_of(chat_template->for_tools().source()) : nullptr;
  return told ? told : &default_tool_dialect();
}

AnswerForm form_of(const ChatRequest& request, const Settings& settings,
                   const ToolDialect* dialect_of_calls, std::string_view prompt_text) {
  const ReasoningDialect& dialect =
      settings.reasoning ? *settings.reasoning : default_reasoning_dialect();
  AnswerForm form{.reasoning = settings.reasoning,
                  .starts_in_thoughts = starts_in_thoughts(
                      dialect, prompt_text, request.chat.prefill, request.chat.thinking),
                  .separate_reasoning = request.separate_reasoning,
                  .stream_reasoning = request.stream_reasoning};
  const ToolUse& use = request.chat.tool_use;
  if (dialect_of_calls && !use.tools.empty()) {
    form.tools = dialect_of_calls;
    for (const ChatTool& tool : use.tools) form.tool_names.push_back(tool.name);
    form.most_calls = use.one_call ? 1 : 0;
  }
  return form;
}

// Calls that must be made, or whose arguments must follow a schema, and thoughts that are free.
std::expected<void, Failure> constrain(ChatRequest& request, const AnswerForm& form,
                                       const Settings& settings, const Tokenizer& tokenizer) {
  const ToolUse& use = request.chat.tool_use;
  std::optional<GrammarSpec>& grammar = request.job.prompts[0].sampling.grammar;
  std::vector<CallableTool> tools;
  for (const ChatTool& tool : use.tools) {
    // Schemas of tools that are not strict bind forced calls alone.
    const bool bound = use.required || tool.strict;
    tools.push_back({.name = tool.name, .parameters = bound ? tool.parameters : ""});
  }
  const bool strict = std::ranges::any_of(use.tools, &ChatTool::strict);
  if (use.required) {
    if (!settings.grammars) {
      return refuse(
          "tool_choice: forced calls need grammars; the server was launched with "
          "--grammar-backend none.");
    }
    if (grammar) {
      return refuse(
          "tool_choice: a forced call cannot be combined with response_format or another grammar.");
    }
    grammar = GrammarSpec{.kind = GrammarSpec::Kind::kStructuralTag,
                          .text = forced_calls(*form.tools, tools, use.one_call)};
  } else if (strict && form.tools && settings.grammars && !grammar) {
    grammar = GrammarSpec{.kind = GrammarSpec::Kind::kStructuralTag,
                          .text = checked_calls(*form.tools, tools)};
  }
  if (!grammar || !form.starts_in_thoughts || !(settings.reasoning || use.required)) return {};
  const ReasoningDialect& dialect =
      settings.reasoning ? *settings.reasoning : default_reasoning_dialect();
  grammar->starts_after = TRY(tokenizer.encode(dialect.end, false));
  return {};
}

}  // namespace

Parsed<std::string> render(const ChatPrompt& prompt, const ChatTemplate* chat_template,
                           const Tokenizer& tokenizer) {
  std::shared_ptr<const ChatTemplate> own;
  if (!prompt.own_template.empty()) {
    const auto token = [&](std::optional<int32_t> id) {
      return id ? tokenizer.token_bytes(*id) : std::string_view();
    };
    own = TRY(
        ChatTemplate::compile(prompt.own_template, token(tokenizer.bos()), token(tokenizer.eos())));
    chat_template = own.get();
  }
  if (chat_template == nullptr) {
    return refuse(
        "This model has no chat template; start the server with --chat-template, or use "
        "/v1/completions.");
  }
  return TRY(render_chat(*chat_template, prompt.context_json)) + prompt.prefill;
}

std::expected<void, Failure> complete_chat(ChatRequest& request, const Settings& settings,
                                           const ChatTemplate* chat_template,
                                           const Tokenizer& tokenizer) {
  if (!settings.text) return refuse("{}", kNoText);
  Prompt& prompt = request.job.prompts[0];
  if (!prompt.tokenized) prompt.text = TRY(render(request.chat, chat_template, tokenizer));
  prompt.form =
      form_of(request, settings, call_dialect(request.chat.tool_use, settings, chat_template),
              prompt.tokenized ? end_of(prompt.ids, tokenizer) : prompt.text);
  // Markers of calls are special tokens in some models.
  if (!request.chat.tool_use.tools.empty()) prompt.sampling.skip_special_tokens = false;
  return constrain(request, *prompt.form, settings, tokenizer);
}

}  // namespace fathom::api
