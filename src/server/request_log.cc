#include "server/request_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/json_text.h"

namespace fathom {
namespace {

constexpr size_t kPartialBytes = 2048;
constexpr size_t kParsedBytes = 1u << 20;  // larger bodies would hold up the I/O thread

// As a JSON string: quotes, line breaks and broken UTF-8 cannot leave the line.
std::string quoted(std::string_view text, RequestLogLevel level) {
  const bool cut = level < RequestLogLevel::kFull && text.size() > kPartialBytes;
  return json_text(Json(std::string(cut ? text.substr(0, kPartialBytes) : text))) +
         (cut ? fmt::format("... ({} bytes)", text.size()) : "");
}

// Printing recurses, so what clients nest deeper than any real field is left out.
bool nests_at_most(const nlohmann::json& json, int depth) {
  if (!json.is_structured()) return true;
  return depth > 0 && std::ranges::all_of(json, [depth](const nlohmann::json& child) {
           return nests_at_most(child, depth - 1);
         });
}

// Fields that steer sampling, from a body that may be anything.
Json sampling_fields(const std::string& body) {
  Json found = Json::object();
  if (body.size() > kParsedBytes) return found;
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object()) return found;
  for (const char* name : {"sampling_params", "max_tokens", "max_completion_tokens", "temperature",
                           "top_p", "top_k", "min_p", "n", "stop", "seed", "stream", "logprobs"}) {
    if (json.contains(name) && nests_at_most(json[name], 4)) found[name] = json[name];
  }
  return found;
}

}  // namespace

std::string describe_request(const http::Request& request, RequestLogLevel level) {
  std::string out = fmt::format("{} {} from {}, {} bytes", request.method, request.target,
                                request.remote, request.body.size());
  if (level == RequestLogLevel::kSampling) {
    out += ", sampling=" + json_text(sampling_fields(request.body));
  } else if (level >= RequestLogLevel::kPartial) {
    out += ", body=" + quoted(request.body, level);
  }
  return out;
}

std::string describe_output(std::string_view output, RequestLogLevel level) {
  if (level < RequestLogLevel::kPartial) return fmt::format("{} bytes", output.size());
  return quoted(output, level);
}

}  // namespace fathom
