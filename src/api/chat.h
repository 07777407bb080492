// POST /v1/chat/completions (spec: http-api 8, 9).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "api/chat_tools.h"
#include "api/openai.h"
#include "text/chat_template.h"

namespace fathom::api {

// What a chat template is rendered with.
struct ChatPrompt {
  std::string context_json;      // {"messages", "tools"?, "add_generation_prompt", kwargs...}
  std::string prefill;           // follows the rendered text: the last assistant message, continued
  std::string own_template;      // chat_template_kwargs.chat_template, where trusted
  std::optional<bool> thinking;  // what the template is told
  ToolUse tool_use;
};

// Reads messages, tools, tool_choice, chat_template_kwargs, reasoning_effort,
// continue_final_message.
Parsed<ChatPrompt> read_chat_prompt(Fields& fields, const Settings& settings,
                                    bool with_tool_choice);
// The rendered text with the prefill behind it; a template's own errors are 400.
Parsed<std::string> render(const ChatPrompt& prompt, const ChatTemplate* chat_template,
                           const Tokenizer& tokenizer);

struct ChatRequest {
  Job job;  // one prompt, whose text is to be rendered unless it is tokenized
  OpenAiOptions options;
  ChatPrompt chat;
  bool logprobs = false;
  bool separate_reasoning = true;
  bool stream_reasoning = true;
};

Parsed<ChatRequest> parse_chat(const std::string& body, const Settings& settings);
// Renders the prompt and settles how the answer to it is read (job.prompts[0].text and .form).
std::expected<void, Failure> complete_chat(ChatRequest& request, const Settings& settings,
                                           const ChatTemplate* chat_template,
                                           const Tokenizer& tokenizer);

std::unique_ptr<Format> chat_format(const ChatRequest& request, const Settings& settings,
                                    std::shared_ptr<const Tokenizer> tokenizer);

}  // namespace fathom::api
