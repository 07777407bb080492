#include "api/meta_info.h"

namespace fathom::api {
namespace {

void write_finish_reason(JsonWriter& out, const FinishReason& reason) {
  out.begin_object();
  switch (reason.kind) {
    case FinishReason::Kind::kStop:
      out.key("type").string("stop").key("matched");
      if (const auto* id = std::get_if<int32_t>(&reason.matched)) {
        out.integer(*id);
      } else if (const auto* text = std::get_if<std::string>(&reason.matched)) {
        out.string(*text);
      } else {
        out.null();
      }
      break;
    case FinishReason::Kind::kLength:
      out.key("type").string("length").key("length").integer(reason.length);
      break;
    case FinishReason::Kind::kAbort:
      out.key("type").string("abort").key("message").string(reason.message);
      out.key("status_code");
      reason.status_code == 0 ? out.null() : out.integer(reason.status_code);
      out.key("err_type").null();
      break;
  }
  out.end_object();
}

}  // namespace

void write_meta_info(JsonWriter& out, const Choice& choice, const std::string& weight_version,
                     std::chrono::steady_clock::time_point start) {
  out.key("id").string(choice.rid());
  out.key("finish_reason");
  choice.finish() ? write_finish_reason(out, *choice.finish()) : void(out.null());
  out.key("prompt_tokens").integer(choice.prompt_tokens());
  out.key("completion_tokens").integer(choice.completion_tokens());
  out.key("cached_tokens").integer(choice.cached_tokens());
  out.key("reasoning_tokens").integer(choice.reasoning_tokens());
  out.key("weight_version").string(weight_version);
  out.key("num_retractions").integer(choice.retractions());
  if (!choice.finish()) return;
  const std::chrono::duration<double> latency = std::chrono::steady_clock::now() - start;
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  out.key("e2e_latency").number(latency.count());
  out.key("queue_time").number(choice.queue_seconds());
  out.key("response_sent_to_client_ts").number(now.count());
}

}  // namespace fathom::api
