#include "server/error_body.h"

#include "api/errors.h"
#include "server/answers.h"

namespace fathom {
namespace {

std::string type_of(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 500:
      return "InternalServerError";
    case 501:
      return "NotImplementedError";
    case 503:
      return "503";
    default: {
      std::string name(http::reason_phrase(status));
      std::erase(name, ' ');
      return name + "Error";
    }
  }
}

}  // namespace

http::Response error_response(ErrorShape shape, int status, std::string_view message) {
  const std::string text(message);
  const OrderedJson fields = {
      {"message", text}, {"type", type_of(status)}, {"param", nullptr}, {"code", status}};
  OrderedJson body;
  switch (shape) {
    case ErrorShape::kDetail:
      body = {{"detail", text}};
      break;
    case ErrorShape::kFlat:
      body = {{"object", "error"}};
      body.update(fields);
      body["error"] = fields;
      break;
    case ErrorShape::kNative:
      body = {{"error", {{"message", text}}}};
      break;
    case ErrorShape::kNested:
      body = {{"error", fields}};
      break;
    case ErrorShape::kAnthropic:
      body = {{"type", "error"},
              {"error", {{"type", api::anthropic_error_type(status)}, {"message", text}}}};
      break;
  }
  http::Response response = json_response(body, status);
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace fathom
