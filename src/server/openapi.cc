#include "server/openapi.h"

#include <algorithm>

#include "server/version.h"

namespace fathom {
namespace {

std::string_view tag_of(const Route& route) {
  switch (route.access) {
    case Access::kOpen:
      return "health";
    case Access::kAdmin:
      return "admin";
    case Access::kNormal:
      return route.needs == Needs::kGeneration ? "generation" : "information";
  }
  return "information";
}

// "post_v1_chat_completions"
std::string operation_id(std::string_view method, std::string_view path) {
  std::string id(method);
  id += path == "/" ? "_root" : path;
  for (char& c : id) {
    if (c == '/' || c == '{' || c == '}') c = '_';
  }
  return id;
}

OrderedJson operation(const Route& route, const std::string& method, const std::string& path) {
  OrderedJson out = {{"operationId", operation_id(method, path)}, {"tags", {tag_of(route)}}};
  if (route.any_suffix) {
    out["parameters"] = OrderedJson::array({{{"name", "id"},
                                             {"in", "path"},
                                             {"required", true},
                                             {"schema", {{"type", "string"}, {"minLength", 1}}}}});
  }
  const std::string_view schema = method == "get" ? "" : request_schema(route.path);
  if (!schema.empty()) {
    const OrderedJson of_body = parse_ordered_json(schema, path).value();
    out["requestBody"] = {{"required", true},
                          {"content", {{"application/json", {{"schema", of_body}}}}}};
  }
  if (route.access == Access::kOpen) {
    out["security"] = OrderedJson::array();
  }
  out["responses"] = {{"200", {{"description", "The answer"}}},
                      {"4XX", {{"description", "The request is refused; the body says why"}}},
                      {"5XX", {{"description", "The server cannot answer now"}}}};
  return out;
}

}  // namespace

OrderedJson openapi_document(const std::vector<Route>& table) {
  OrderedJson paths = OrderedJson::object();
  for (const Route& route : table) {
    const std::string path = route.any_suffix ? route.path + "{id}" : route.path;
    OrderedJson& methods = paths[path];
    for (const std::string_view name : route.methods) {
      std::string method(name);
      std::ranges::transform(method, method.begin(),
                             [](unsigned char c) { return std::tolower(c); });
      methods[method] = operation(route, method, path);
    }
  }
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "Fathom"}, {"version", kVersion}}},
          {"paths", paths},
          {"components",
           {{"securitySchemes",
             {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
              {"key", {{"type", "apiKey"}, {"in", "header"}, {"name", "x-api-key"}}}}}}},
          {"security", OrderedJson::array({OrderedJson::object(),
                                           {{"bearer", OrderedJson::array()}},
                                           {{"key", OrderedJson::array()}}})}};
}

}  // namespace fathom
