#include "api/constraints.h"

namespace fathom::api {
namespace {

constexpr std::string_view kOneOnly =
    "Only one of json_schema, regex, ebnf, or structural_tag can be set.";

void set(Fields& fields, GrammarSpec::Kind kind, std::string text,
         std::optional<GrammarSpec>& grammar, const Settings& settings) {
  if (!settings.grammars) {
    return fields.refuse_with(
        "Grammar-based generation (json_schema, regex, ebnf, structural_tag) is not supported when "
        "the server is launched with --grammar-backend none");
  }
  if (grammar) return fields.refuse_with(std::string(kOneOnly));
  grammar = GrammarSpec{.kind = kind, .text = std::move(text), .starts_after = {}};
}

// {"json_schema": {"schema": ...}}, or {"schema": ...} beside the type.
std::optional<JsonValue> schema_of(const Fields& format) {
  const auto outer = format.find("json_schema");
  if (!outer) return format.find("schema");
  JsonValue schema;
  if ((*outer)["schema"].get(schema) != simdjson::SUCCESS || schema.is_null()) return std::nullopt;
  return schema;
}

}  // namespace

void read_grammar(Fields& fields, std::optional<GrammarSpec>& grammar, const Settings& settings) {
  static constexpr std::pair<std::string_view, GrammarSpec::Kind> kFields[] = {
      {"json_schema", GrammarSpec::Kind::kJsonSchema},
      {"regex", GrammarSpec::Kind::kRegex},
      {"ebnf", GrammarSpec::Kind::kEbnf},
      {"structural_tag", GrammarSpec::Kind::kStructuralTag}};
  bool inherited = grammar.has_value();  // from --preferred-sampling-params
  for (const auto& [name, kind] : kFields) {
    std::string text;
    fields.string(name, text);
    if (text.empty()) continue;
    if (std::exchange(inherited, false)) grammar.reset();
    set(fields, kind, std::move(text), grammar, settings);
  }
}

void read_response_format(Fields& fields, std::optional<GrammarSpec>& grammar,
                          const Settings& settings) {
  const auto value = fields.find("response_format");
  if (!value) return;
  Fields format(*value, "response_format");
  std::string type;
  format.string("type", type);
  if (format.failure()) return fields.note(*format.failure());
  if (type == "text") return;
  if (type == "json_object") {
    return set(fields, GrammarSpec::Kind::kJsonSchema, R"({"type": "object"})", grammar, settings);
  }
  if (type == "json_schema") {
    const auto schema = schema_of(format);
    if (!schema) {
      return fields.refuse_with("schema_ is required for json_schema response format request.");
    }
    return set(fields, GrammarSpec::Kind::kJsonSchema, simdjson::minify(*schema), grammar,
               settings);
  }
  if (type == "structural_tag") {
    return set(fields, GrammarSpec::Kind::kStructuralTag, simdjson::minify(*value), grammar,
               settings);
  }
  fields.refuse_with(fmt::format(
      "response_format.type must be text, json_object, json_schema or structural_tag, got '{}'.",
      type));
}

}  // namespace fathom::api
