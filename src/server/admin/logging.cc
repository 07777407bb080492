#include "server/admin/logging.h"

#include <algorithm>
#include <array>

#include "base/log_level.h"
#include "server/admin/body.h"
#include "server/error_body.h"

namespace fathom {
namespace {

Status configure(ServerState& state, const std::string& body) {
  AdminBody fields = TRY(AdminBody::parse(body));
  const auto on = fields.boolean("log_requests");
  const auto level = fields.integer("log_requests_level", 0, 3);
  const auto log_level = fields.text("log_level");
  if (fields.text("dump_requests_folder") ||
      fields.integer("dump_requests_threshold", 0, INT64_MAX)) {
    fields.refuse("dump_requests_folder: not supported; start the server with --crash-dump-folder");
  }
  constexpr std::array kLevels = {"debug", "info", "warning", "error", "critical"};
  if (log_level && std::ranges::find(kLevels, *log_level) == kLevels.end()) {
    fields.refuse("log_level: must be debug, info, warning, error or critical");
  }
  TRY(fields.status());
  if (log_level) log::set_level(*log_level);
  RequestLog& requests = *state.request_log;
  if (level) requests.set_level(static_cast<RequestLogLevel>(*level));
  if (on) requests.enable(*on);
  return {};
}

}  // namespace

http::Handler configure_logging_handler(ServerState& state) {
  return [&state](const http::Request& request, http::Responder& responder) {
    const Status done = configure(state, request.body);
    if (!done)
      return responder.send(error_response(ErrorShape::kNative, 400, done.error().message));
    http::Response response;
    response.content_type = "";
    return responder.send(std::move(response));
  };
}

}  // namespace fathom
