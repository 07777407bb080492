#include "server/admin/logging.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "base/log.h"
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
  // SGLang's script always sends both.
  const bool dumps = fields.text("dump_requests_folder").has_value();
  fields.integer("dump_requests_threshold", 0, INT64_MAX);
  constexpr std::array kLevels = {"debug", "info", "warning", "error", "critical"};
  if (log_level && std::ranges::find(kLevels, *log_level) == kLevels.end()) {
    fields.refuse("log_level: must be debug, info, warning, error or critical");
  }
  TRY(fields.status());
  if (dumps) {
    static std::once_flag warned;
    std::call_once(warned, [] {
      log::warn("/configure_logging: dump_requests_folder has no effect: requests are dumped with "
                "--crash-dump-folder alone.");
    });
  }
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
