#include "base/log.h"

#include "base/log_level.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace fathom::log {

void init(const std::string& level, const std::string& rank_suffix) {
  auto logger = std::make_shared<spdlog::logger>(
      "fathom", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("[%Y-%m-%d %H:%M:%S" + rank_suffix + "] %v");
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  set_level(level);
}

void set_level(const std::string& level) {
  spdlog::set_level(spdlog::level::from_str(level == "warning" ? "warn" : level));
}

}  // namespace fathom::log
