// /start_profile and /stop_profile: engine phases as a Chrome trace (chrome://tracing, Perfetto).
#pragma once

#include <memory>
#include <string>

#include "http/server.h"
#include "server/generation/text_pool.h"
#include "server/server_state.h"

namespace fathom {

// The trace's JSON text: complete events ("ph": "X") in microseconds.
std::string chrome_trace(const std::vector<ProfileEvent>& events);

// One recording at a time. Files are <folder>/<id>-TP-0.trace.json.gz.
class ProfileSession;
std::shared_ptr<ProfileSession> make_profile_session(const ServerState& state, TextPool& blocking,
                                                     std::string default_folder);
http::Handler start_profile_handler(std::shared_ptr<ProfileSession> session);
// Answers when the file is written.
http::Handler stop_profile_handler(std::shared_ptr<ProfileSession> session);

}  // namespace fathom
