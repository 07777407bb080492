#include "text/builtin_templates.h"

namespace fathom {
namespace {

// System texts move to the front, joined by a blank line.
#define SYSTEM_TEXTS                                                                        \
  "{%- set ns = namespace(system='') -%}"                                                   \
  "{%- for m in messages if m['role'] == 'system' -%}"                                      \
  "{%- set ns.system = ns.system + ('\n\n' if ns.system else '') + m['content'] -%}"        \
  "{%- endfor -%}"                                                                          \
  "{{- bos_token + ns.system -}}"

constexpr std::string_view kV2 =
    SYSTEM_TEXTS
    "{%- if ns.system %}{{- '\n\n' -}}{% endif -%}"
    "{%- for m in messages -%}"
    "{%- if m['role'] == 'user' %}{{- 'User: ' + m['content'] + '\n\n' -}}"
    "{%- elif m['role'] == 'assistant' %}{{- 'Assistant: ' + (m['content'] or '') + eos_token -}}{% endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{- 'Assistant:' -}}{% endif -%}";

constexpr std::string_view kV3 =
    SYSTEM_TEXTS
    "{%- for m in messages -%}"
    "{%- if m['role'] == 'user' %}{{- '<｜User｜>' + m['content'] -}}"
    "{%- elif m['role'] == 'assistant' %}"
    "{{- '<｜Assistant｜>' + (m['content'] or '') + eos_token -}}{% endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{- '<｜Assistant｜>' -}}{% endif -%}";

constexpr std::string_view kR1 =
    SYSTEM_TEXTS
    "{%- for m in messages -%}"
    "{%- if m['role'] == 'user' %}{{- '<｜User｜>' + m['content'] -}}"
    "{%- elif m['role'] == 'assistant' %}"
    "{{- '<｜Assistant｜>' + (m['content'] or '').split('</think>')[-1] + eos_token -}}{% endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\n' -}}{% endif -%}";

constexpr std::string_view kV31 =
    SYSTEM_TEXTS
    "{%- for m in messages -%}"
    "{%- if m['role'] == 'user' %}{{- '<｜User｜>' + m['content'] -}}"
    "{%- elif m['role'] == 'assistant' %}"
    "{{- '<｜Assistant｜></think>' + (m['content'] or '').split('</think>', 1)[-1] + eos_token -}}{% endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt and messages and messages[-1]['role'] == 'user' %}"
    "{{- '<｜Assistant｜>' + ('<think>' if thinking is defined and thinking else '</think>') -}}{% endif -%}";

struct Row {
  std::string_view name;
  std::string_view source;
};
constexpr Row kRows[] = {{"deepseek", kV3},      {"deepseek-v2", kV2}, {"deepseek-v2.5", kV3},
                         {"deepseek-v3", kV3},   {"deepseek-r1", kR1}, {"deepseek-v3.1", kV31}};

}  // namespace

std::optional<std::string_view> builtin_template(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.source;
  }
  return std::nullopt;
}

}  // namespace fathom
