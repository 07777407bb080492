// Logging in SGLang's form: `[YYYY-MM-DD HH:MM:SS] message` on stderr, so that log scrapers written
// for it work unchanged. Thread safe. Nothing below server/ and apps/ sets the level.
#pragma once

#include <spdlog/spdlog.h>

namespace fathom::log {

// level: debug, info, warning, error, critical (SGLang's and Python's names).
// rank_suffix stands inside the bracket, e.g. " TP0"; empty with one rank.
void init(const std::string& level, const std::string& rank_suffix = "");

using spdlog::critical;
using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

}  // namespace fathom::log
