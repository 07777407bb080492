#include "server/admin/engine_state.h"

#include <algorithm>
#include <array>

#include "server/admin/body.h"
#include "server/answers.h"
#include "server/error_body.h"
#include "server/schedule_policy.h"

namespace fathom {
namespace {

constexpr double kLongestSleep = 60;
constexpr std::array kTunable = {"schedule_conservativeness", "max_running_requests",
                                 "decode_log_interval", "schedule_policy"};

http::Response bad_request(const Error& error) {
  return error_response(ErrorShape::kNative, 400, error.message);
}

Result<PauseMode> pause_mode(const std::string& body) {
  AdminBody parsed = TRY(AdminBody::parse(body));
  const std::string mode = parsed.text("mode").value_or("abort");
  TRY(parsed.status());
  if (mode == "abort") return PauseMode::kAbort;
  if (mode == "retract") return PauseMode::kRetract;
  if (mode == "in_place") return PauseMode::kInPlace;
  return invalid("mode: must be 'abort', 'retract' or 'in_place', got '{}'", mode);
}

Result<double> sleep_time(const std::string& body) {
  AdminBody parsed = TRY(AdminBody::parse(body));
  const auto seconds = parsed.number("forward_sleep_time", 0, kLongestSleep);
  TRY(parsed.status());
  return seconds.value_or(0);
}

Result<EngineTuning> tuning_of(const Json& args, int32_t most_running) {
  for (const auto& [name, value] : args.items()) {
    if (std::ranges::find(kTunable, name) == kTunable.end()) {
      return invalid("server_args.{}: cannot be changed while serving", name);
    }
  }
  AdminBody fields = TRY(AdminBody::parse(json_text(args)));
  EngineTuning tuning;
  tuning.conservativeness = fields.number("schedule_conservativeness", 0, 1000);
  if (const auto n = fields.integer("max_running_requests", 1, most_running)) {
    tuning.max_running = static_cast<int32_t>(*n);
  }
  if (const auto n = fields.integer("decode_log_interval", 1, 1 << 30)) {
    tuning.decode_log_interval = static_cast<int32_t>(*n);
  }
  if (const auto name = fields.text("schedule_policy")) {
    tuning.policy = schedule_policy_of(*name);
    if (!tuning.policy)
      fields.refuse("schedule_policy: must be lpm, random, fcfs, dfs-weight or lof");
  }
  if (const Status good = fields.status(); !good)
    return invalid("server_args.{}", good.error().message);
  return tuning;
}

}  // namespace

http::Handler pause_generation_handler(ServerState& state) {
  return [&state](const http::Request& request, http::Responder& responder) {
    const auto mode = pause_mode(request.body);
    if (!mode) return responder.send(bad_request(mode.error()));
    state.paused = true;
    state.model()->engine->pause(*mode);
    return responder.send(
        json_response({{"message", "Generation paused successfully."}, {"status", "ok"}}));
  };
}

http::Handler continue_generation_handler(ServerState& state) {
  return [&state](const http::Request&, http::Responder& responder) {
    state.paused = false;
    state.model()->engine->resume();
    return responder.send(
        json_response({{"message", "Generation continued successfully."}, {"status", "ok"}}));
  };
}

http::Handler slow_down_handler(const ServerState& state) {
  return [&state](const http::Request& request, http::Responder& responder) {
    const auto seconds = sleep_time(request.body);
    if (!seconds) return responder.send(bad_request(seconds.error()));
    state.model()->engine->tune({.sleep_per_step = *seconds});
    http::Response response;
    response.content_type = "";
    return responder.send(std::move(response));
  };
}

http::Handler set_internal_state_handler(ServerState& state) {
  return [&state](const http::Request& request, http::Responder& responder) {
    const LoadedModel& model = *state.model();
    auto body = AdminBody::parse(request.body);
    if (!body) return responder.send(bad_request(body.error()));
    const Json* args = body->object("server_args");
    if (!args) body->refuse("server_args: must be an object");
    if (const Status good = body->status(); !good) return responder.send(bad_request(good.error()));
    const auto tuning = tuning_of(*args, model.facts.max_running);
    if (!tuning) {
      return responder.send(json_response(
          {{"updated", false}, {"server_args", *args}, {"message", tuning.error().message}}, 400));
    }
    model.engine->tune(*tuning);
    OrderedJson changed = OrderedJson::object();
    for (const auto& [name, value] : args->items()) {
      if (!value.is_null()) changed[name] = value;
    }
    state.tuned(changed);
    return responder.send(json_response({{"updated", true}, {"server_args", *args}}));
  };
}

}  // namespace fathom
