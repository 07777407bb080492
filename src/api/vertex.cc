#include "api/vertex.h"

#include "api/json_reader.h"
#include "api/json_writer.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;

// The body of /generate that means the same.
Parsed<std::string> generate_body(const std::string& body) {
  const auto document = TRY(JsonDocument::parse(body));
  const Fields fields(document.root(), "");
  TRY(fields.status());
  const auto instances = fields.find("instances");
  if (!instances) return schema_error("instances", "is required");
  array list;
  if (instances->get(list) != simdjson::SUCCESS) return schema_error("instances", "must be a list");
  if (list.size() == 0) return refuse("instances cannot be an empty list.");

  std::string text;
  JsonWriter out(text);
  out.begin_object();
  if (const auto parameters = fields.find("parameters")) {
    simdjson::dom::object members;
    if (parameters->get(members) != simdjson::SUCCESS) {
      return schema_error("parameters", "must be a JSON object");
    }
    for (const auto& [name, value] : members) {
      if (name == "text" || name == "input_ids") continue;
      if (name == "stream" && value.type() != simdjson::dom::element_type::NULL_VALUE &&
          !(value.is_bool() && !bool(value))) {
        return std::unexpected(Failure(501, "stream: predictions cannot be streamed."));
      }
      out.any_key(name).raw(simdjson::minify(value));
    }
  }
  std::string_view kind;  // of the first instance, and so of all
  size_t i = 0;
  for (const JsonValue item : list) {
    const Fields instance(item, fmt::format("instances[{}]", i++));
    TRY(instance.status());
    if (kind.empty()) {
      kind = instance.find("text") ? "text" : "input_ids";
      out.key(kind).begin_array();
    }
    const auto value = instance.find(kind);
    if (!value) return schema_error(instance.path_of(kind), "is required");
    out.raw(simdjson::minify(*value));
  }
  out.end_array().end_object();
  return text;
}

class VertexFormat final : public Format {
 public:
  explicit VertexFormat(std::unique_ptr<Format> native) : native_(std::move(native)) {}
  Shape error_shape() const override { return native_->error_shape(); }
  void set_prompts(std::vector<std::vector<int32_t>> ids) override {
    native_->set_prompts(std::move(ids));
  }
  void append_chunk(Events&, size_t, const Choice&) override {}  // never streams
  void append_closing(Events&, const std::vector<Choice>&) override {}
  std::string answer(const std::vector<Choice>& choices) override {
    return "{\"predictions\":" + native_->answer(choices) + "}";
  }

 private:
  std::unique_ptr<Format> native_;
};

}  // namespace

Parsed<NativeRequest> parse_vertex(const std::string& body, const Settings& settings) {
  return parse_generate(TRY(generate_body(body)), settings);
}

std::unique_ptr<Format> vertex_format(std::unique_ptr<Format> native) {
  return std::make_unique<VertexFormat>(std::move(native));
}

}  // namespace fathom::api
