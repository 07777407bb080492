#include "server/admin/admin_routes.h"

#include "server/admin/cache_and_abort.h"
#include "server/admin/engine_state.h"
#include "server/admin/expert_record.h"
#include "server/admin/logging.h"
#include "server/admin/profile.h"
#include "server/admin/weights.h"
#include "server/answers.h"

namespace fathom {
namespace {

http::Handler plain_text_handler(std::string text) {
  return [text = std::move(text)](const http::Request&, http::Responder& responder) {
    return responder.send(plain_text(text));
  };
}

}  // namespace

void add_admin_routes(std::vector<Route>& table, const RouteOptions& options, ServerState& state,
                      TextPool& blocking) {
  using Methods = std::vector<std::string_view>;
  const auto add = [&table](std::string path, Methods methods, http::Handler handler) {
    table.push_back({std::move(path), std::move(methods), Access::kAdmin, Needs::kModel,
                     ErrorShape::kNative, std::move(handler)});
  };
  const Methods either = {"GET", "POST"};
  add("/flush_cache", either, flush_cache_handler(state));
  add("/reset_prefix_cache", {"POST"}, flush_cache_handler(state));  // vLLM's name
  add("/abort_request", {"POST"}, abort_request_handler(state));
  add("/pause_generation", {"POST"}, pause_generation_handler(state));
  add("/continue_generation", {"POST"}, continue_generation_handler(state));
  add("/slow_down", either, slow_down_handler(state));
  add("/set_internal_state", {"POST", "PUT"}, set_internal_state_handler(state));
  add("/configure_logging", either, configure_logging_handler(state));
  add("/freeze_gc", either, plain_text_handler("Garbage collection frozen.\n"));

  const auto profile = make_profile_session(state, blocking, options.profile_folder);
  add("/start_profile", either, start_profile_handler(profile));
  add("/stop_profile", either, stop_profile_handler(profile));

  add("/start_expert_distribution_record", either, start_expert_record_handler(state));
  add("/stop_expert_distribution_record", either, stop_expert_record_handler(state));
  add("/dump_expert_distribution_record", either,
      dump_expert_record_handler(state, blocking, options.expert_record_folder));

  add("/update_weights_from_disk", {"POST"},
      update_weights_from_disk_handler(state, blocking, options.open_model));
  add("/get_weights_by_name", either,
      get_weights_by_name_handler(state, blocking, options.map_model));
  for (const char* name :
       {"update_weights_from_tensor", "update_weights_from_distributed",
        "init_weights_update_group", "destroy_weights_update_group", "update_weights_from_ipc"}) {
    add(std::string("/") + name, {"POST"},
        unsuccessful_handler(std::string(name) +
                             " is not supported by this server; use /update_weights_from_disk"));
  }
  for (const char* name : {"release_memory_occupation", "resume_memory_occupation"}) {
    add(std::string("/") + name, either,
        refusing_handler(std::string(name) +
                         " is not supported by this server: memory is not released "
                         "while serving."));
  }
  for (const char* name :
       {"open_session", "close_session", "load_lora_adapter", "unload_lora_adapter"}) {
    add(std::string("/") + name, either,
        refusing_handler(std::string(name) + " is not supported by this server."));
  }
}

}  // namespace fathom
