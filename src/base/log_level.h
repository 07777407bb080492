// Changing the level of the log while serving.
#pragma once

#include <string>

namespace fathom::log {

// As init() takes it; any thread.
void set_level(const std::string& level);

}  // namespace fathom::log
