#include "text/builtin_templates.h"

#include <initializer_list>
#include <span>
#include <string>

namespace fathom {
namespace {

// System texts move to the front, joined by a blank line.
constexpr std::string_view kSystemTexts = R"(
{%- set ns = namespace(system='', in_outputs=false, after_outputs=false) -%}
{%- for m in messages if m['role'] == 'system' -%}
  {%- set ns.system = ns.system + ('\n\n' if ns.system else '') + m['content'] -%}
{%- endfor -%})";

constexpr std::string_view kV2 = R"(
{{- bos_token + ns.system + ('\n\n' if ns.system else '') -}}
{%- for m in messages -%}
  {%- if m['role'] == 'user' -%}
    {{- 'User: ' + m['content'] + '\n\n' -}}
  {%- elif m['role'] == 'assistant' -%}
    {{- 'Assistant: ' + (m['content'] or '') + eos_token -}}
  {%- endif -%}
{%- endfor -%}
{{- 'Assistant:' if add_generation_prompt else '' -}})";

// V3 and R1 announce tools, write calls and read results in one way.
constexpr std::string_view kFencedTools = R"(
{%- if tools -%}
  {%- set ns.system = ns.system + ('\n\n' if ns.system else '')
      + 'You are an assistant who can call functions. To call one or more of them, answer in exactly '
      + 'this form and write nothing after it: '
      + '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>function_name\n'
      + '```json\n{"parameter": "value"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>. '
      + 'Further calls follow before the end marker, each on a new line. '
      + 'Make sure that the JSON is valid.\n\n## Tools' -%}
  {%- for tool in tools -%}
    {%- set ns.system = ns.system + '\n\n```json\n' + (tool | tojson) + '\n```' -%}
  {%- endfor -%}
{%- endif -%}
{{- bos_token + ns.system -}}
{%- macro call(c) -%}
  {%- set arguments = c['function']['arguments'] -%}
  {{- '<｜tool▁call▁begin｜>' + (c['type'] or 'function') + '<｜tool▁sep｜>' + c['function']['name'] -}}
  {{- '\n```json\n' + (arguments if arguments is string else arguments | tojson) -}}
  {{- '\n```<｜tool▁call▁end｜>' -}}
{%- endmacro -%}
{%- macro calls(list) -%}
  {{- '<｜tool▁calls▁begin｜>' -}}
  {%- for c in list -%}{{- ('' if loop.first else '\n') + call(c) -}}{%- endfor -%}
  {{- '<｜tool▁calls▁end｜>' -}}
{%- endmacro -%}
{%- for m in messages -%}
  {%- if ns.in_outputs and m['role'] != 'tool' -%}
    {%- set ns.in_outputs = false -%}
    {{- '<｜tool▁outputs▁end｜>' -}}
  {%- endif -%}
  {%- if m['role'] == 'user' -%}
    {%- set ns.after_outputs = false -%}
    {{- '<｜User｜>' + m['content'] -}}
  {%- elif m['role'] == 'assistant' -%}
    {%- set text = m['content'] or '' -%}
    {{- '' if ns.after_outputs else '<｜Assistant｜>' -}}
    {{- kept(text) + (calls(m['tool_calls']) if m['tool_calls'] else '') + eos_token -}}
    {%- set ns.after_outputs = false -%}
  {%- elif m['role'] == 'tool' -%}
    {{- '\n' if ns.in_outputs else introduction + '<｜tool▁outputs▁begin｜>' -}}
    {{- '<｜tool▁output▁begin｜>' + (m['content'] or '') + '<｜tool▁output▁end｜>' -}}
    {%- set ns.in_outputs = true -%}
    {%- set ns.after_outputs = true -%}
  {%- endif -%}
{%- endfor -%}
{{- '<｜tool▁outputs▁end｜>' if ns.in_outputs else '' -}})";

constexpr std::string_view kV3Head = R"(
{%- macro kept(text) -%}{{- text -}}{%- endmacro -%}
{%- set introduction =
    'Use the results below to answer the user, unless more information is needed.' -%})";
constexpr std::string_view kV3Tail = R"(
{{- '<｜Assistant｜>' if add_generation_prompt and not ns.after_outputs else '' -}})";

constexpr std::string_view kR1Head = R"(
{%- macro kept(text) -%}{{- text.split('</think>')[-1] -}}{%- endmacro -%}
{%- set introduction = '' -%})";
constexpr std::string_view kR1Tail = R"(
{%- if add_generation_prompt and not ns.after_outputs -%}
  {{- '<｜Assistant｜>' if tools else '<｜Assistant｜><think>\n' -}}
{%- endif -%})";

constexpr std::string_view kV31 = R"(
{%- if tools -%}
  {%- set ns.system = ns.system + ('\n\n' if ns.system else '') + '## Tools\nYou can call these tools:' -%}
  {%- for tool in tools -%}
    {%- set f = tool['function'] or tool -%}
    {%- set ns.system = ns.system + '\n\n### ' + f['name'] + '\nDescription: ' + (f['description'] or '')
        + '\n\nParameters: ' + (f['parameters'] | tojson) -%}
  {%- endfor -%}
  {%- set ns.system = ns.system + '\n\nTo call tools, answer in exactly this form:\n'
      + '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_name<｜tool▁sep｜>{"parameter": "value"}'
      + '<｜tool▁call▁end｜><｜tool▁calls▁end｜>\n\nRules:\n'
      + '- Use the exact name of a tool.\n'
      + '- The arguments are valid JSON and follow the schema of the parameters.\n'
      + '- Several calls follow each other without separators, inside one pair of calls markers.' -%}
{%- endif -%}
{{- bos_token + ns.system -}}
{%- for m in messages -%}
  {%- if m['role'] == 'user' -%}
    {%- set ns.after_outputs = false -%}
    {{- '<｜User｜>' + m['content'] -}}
  {%- elif m['role'] == 'assistant' -%}
    {{- '' if ns.after_outputs else '<｜Assistant｜></think>' -}}
    {{- (m['content'] or '').split('</think>', 1)[-1] -}}
    {%- if m['tool_calls'] -%}
      {{- '<｜tool▁calls▁begin｜>' -}}
      {%- for c in m['tool_calls'] -%}
        {%- set arguments = c['function']['arguments'] -%}
        {{- '<｜tool▁call▁begin｜>' + c['function']['name'] + '<｜tool▁sep｜>' -}}
        {{- (arguments if arguments is string else arguments | tojson) + '<｜tool▁call▁end｜>' -}}
      {%- endfor -%}
      {{- '<｜tool▁calls▁end｜>' -}}
    {%- endif -%}
    {{- eos_token -}}
    {%- set ns.after_outputs = false -%}
  {%- elif m['role'] == 'tool' -%}
    {%- set ns.after_outputs = true -%}
    {{- '<｜tool▁output▁begin｜>' + (m['content'] or '') + '<｜tool▁output▁end｜>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages and messages[-1]['role'] == 'user' -%}
  {{- '<｜Assistant｜>' + ('<think>' if thinking else '</think>') -}}
{%- endif -%})";

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string source;
  for (const std::string_view part : parts) source += part;
  return source;
}

struct Row {
  std::string_view name;
  std::string_view source;
};

std::span<const Row> rows() {
  static const std::string v2 = joined({kSystemTexts, kV2});
  static const std::string v3 = joined({kV3Head, kSystemTexts, kFencedTools, kV3Tail});
  static const std::string r1 = joined({kR1Head, kSystemTexts, kFencedTools, kR1Tail});
  static const std::string v31 = joined({kSystemTexts, kV31});
  static const Row table[] = {{"deepseek", v3},    {"deepseek-v2", v2}, {"deepseek-v2.5", v3},
                              {"deepseek-v3", v3}, {"deepseek-r1", r1}, {"deepseek-v3.1", v31}};
  return table;
}

}  // namespace

std::optional<std::string_view> builtin_template(std::string_view name) {
  for (const Row& row : rows()) {
    if (row.name == name) return row.source;
  }
  return std::nullopt;
}

}  // namespace fathom
