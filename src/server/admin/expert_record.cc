#include "server/admin/expert_record.h"

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "base/log.h"
#include "server/answers.h"
#include "server/error_body.h"

namespace fathom {
namespace {

namespace asio = http::asio;

Status dump(EngineControl& engine, const std::string& folder) {
  const ExpertCounts record = engine.expert_counts();
  if (record.counts.empty()) {
    return invalid("Nothing was recorded. Call /start_expert_distribution_record first.");
  }
  OrderedJson layers = OrderedJson::array();
  const auto experts = static_cast<size_t>(record.experts);
  for (size_t first = 0; first < record.counts.size(); first += experts) {
    const auto begin = record.counts.begin() + static_cast<ptrdiff_t>(first);
    layers.push_back(std::vector<int64_t>(begin, begin + record.experts));
  }
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto path = std::filesystem::path(folder) /
                    fmt::format("expert_distribution_recorder_{}.json",
                                std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  std::ofstream file(path);
  if (!(file << json_text(layers) << std::flush)) return invalid("cannot write {}", path.string());
  log::info("Expert distribution written to {}", path.string());
  return {};
}

asio::awaitable<void> answer_dump(const ServerState& state, TextPool& blocking,
                                  const std::string& folder, http::Responder& responder) {
  auto work = [&] { return dump(*state.model()->engine, folder); };
  const Status written = co_await blocking.run(work);
  auto response = written ? plain_text("Dump expert distribution record.\n")
                          : error_response(ErrorShape::kNative, 400, written.error().message);
  co_await responder.send(std::move(response));
}

}  // namespace

http::Handler start_expert_record_handler(const ServerState& state) {
  return [&state](const http::Request&, http::Responder& responder) {
    state.model()->engine->start_expert_record();
    return responder.send(plain_text("Start recording the expert distribution.\n"));
  };
}

http::Handler stop_expert_record_handler(const ServerState& state) {
  return [&state](const http::Request&, http::Responder& responder) {
    state.model()->engine->stop_expert_record();
    return responder.send(plain_text("Stop recording the expert distribution.\n"));
  };
}

http::Handler dump_expert_record_handler(const ServerState& state, TextPool& blocking,
                                         std::string folder) {
  return [&state, &blocking, folder = std::move(folder)](const http::Request&,
                                                         http::Responder& responder) {
    return answer_dump(state, blocking, folder, responder);
  };
}

}  // namespace fathom
