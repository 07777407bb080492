#include "server/warm_up.h"

#include <algorithm>
#include <future>

namespace fathom {
namespace {

constexpr std::string_view kPrompt = "The capital city of France is";
constexpr int64_t kTokens = 8;

Result<FinishReason> end_of(Engine& engine, GenerateRequest request) {
  auto finished = std::make_shared<std::promise<FinishReason>>();
  auto reason = finished->get_future();
  const TokenStream stream = TRY(engine.submit(std::move(request), [finished](TokenEvent&& event) {
    if (event.finish) finished->set_value(*event.finish);
  }));
  return reason.get();
}

}  // namespace

Status warm_up(Engine& engine, const Tokenizer& tokenizer) {
  GenerateRequest request;
  request.rid = "WARM_UP";
  request.health_probe = true;  // not counted
  request.input_ids = tokenizer.encode(kPrompt, true).value_or(std::vector<int32_t>{0, 1, 2});
  const int32_t vocab_size = engine.model_config().vocab_size;
  std::erase_if(request.input_ids, [vocab_size](int32_t id) { return id >= vocab_size; });
  if (request.input_ids.empty()) request.input_ids = {0};
  const auto room = static_cast<size_t>(std::max<int64_t>(engine.max_request_tokens() - 1, 1));
  if (request.input_ids.size() > room) request.input_ids.resize(room);
  request.sampling.temperature = 0;
  request.sampling.max_new_tokens = std::min(
      kTokens, engine.max_request_tokens() - static_cast<int64_t>(request.input_ids.size()));

  for (;;) {
    const FinishReason end = TRY(end_of(engine, request));
    if (end.kind != FinishReason::Kind::kAbort) return {};
    // Who aborts or pauses all requests does not mean ours: it is made again.
    if (end.status_code == 0) continue;
    return fail(ErrorCode::kInternal, "The warm-up request failed: {}", end.message);
  }
}

}  // namespace fathom
