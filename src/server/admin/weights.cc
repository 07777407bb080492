#include "server/admin/weights.h"

#include <algorithm>
#include <array>

#include "server/admin/body.h"
#include "server/answers.h"
#include "server/error_body.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

namespace asio = http::asio;

constexpr int64_t kMostValues = 1 << 22;  // that /get_weights_by_name shows

struct UpdateRequest {
  std::string model_path;
  std::string load_format;
  bool abort_all = false;
  bool flush_cache = true;
  std::optional<std::string> weight_version;
};

Result<UpdateRequest> parse_update(const std::string& body) {
  AdminBody fields = TRY(AdminBody::parse(body));
  UpdateRequest r;
  const auto path = fields.text("model_path");
  if (!path) fields.refuse("model_path: is required, and must be a string");
  r.model_path = path.value_or("");
  r.load_format = fields.text("load_format").value_or("auto");
  r.abort_all = fields.boolean("abort_all_requests").value_or(false);
  r.flush_cache = fields.boolean("flush_cache").value_or(true);
  r.weight_version = fields.text("weight_version");
  constexpr std::array kFormats = {"auto", "safetensors", "layered", "dummy"};
  if (std::ranges::find(kFormats, r.load_format) == kFormats.end()) {
    fields.refuse("load_format: must be auto, safetensors, layered or dummy");
  }
  TRY(fields.status());
  if (r.load_format != "dummy") r.load_format = "auto";
  return r;
}

Status update(ServerState& state, const OpenModel& open, const std::string& body) {
  UpdateRequest request = TRY(parse_update(body));
  auto files = TRY(open(request.model_path));
  TRY(state.model()->engine->update_weights({.files = std::move(files),
                                             .load_format = request.load_format,
                                             .abort_all = request.abort_all,
                                             .flush_cache = request.flush_cache}));
  state.weights_changed(request.model_path, request.weight_version);
  return {};
}

asio::awaitable<void> answer_update(ServerState& state, TextPool& blocking, const OpenModel& open,
                                    const http::Request& request, http::Responder& responder) {
  auto work = [&] { return update(state, open, request.body); };
  const Status updated = co_await blocking.run(work);
  const OrderedJson answer = {
      {"success", updated.has_value()},
      {"message", updated ? "Succeeded to update model weights." : updated.error().message},
      {"num_paused_requests", 0}};
  co_await responder.send(json_response(answer, updated ? 200 : 400));
}

// Row-major values as nested lists, one per dimension.
OrderedJson nested(std::span<const float> values, std::span<const int64_t> shape) {
  if (shape.empty()) return values.empty() ? OrderedJson() : OrderedJson(values[0]);
  OrderedJson list = OrderedJson::array();
  const size_t step = shape[0] == 0 ? 0 : values.size() / static_cast<size_t>(shape[0]);
  for (int64_t i = 0; i < shape[0]; ++i) {
    list.push_back(nested(values.subspan(static_cast<size_t>(i) * step, step), shape.subspan(1)));
  }
  return list;
}

Result<std::string> weights_text(const ServerState& state, const OpenModel& open,
                                 const std::string& body) {
  AdminBody fields = TRY(AdminBody::parse(body));
  const auto name = fields.text("name");
  if (!name) fields.refuse("name: is required, and must be a string");
  const int64_t most = fields.integer("truncate_size", 1, 1 << 20).value_or(100);
  TRY(fields.status());
  const auto files = TRY(open(state.facts().model_path));
  const auto checkpoint = TRY(Checkpoint::open(*files));
  const StoredTensor* tensor = checkpoint->find(*name);
  if (!tensor) return invalid("The checkpoint has no tensor '{}'.", *name);
  StoredTensor head = *tensor;
  if (!head.shape.empty() && head.shape[0] > most) {
    const size_t row_bytes = head.bytes.size() / static_cast<size_t>(head.shape[0]);
    head.shape[0] = most;
    head.bytes = head.bytes.first(row_bytes * static_cast<size_t>(most));
  }
  if (head.elements() > kMostValues) {
    return invalid("{} rows of '{}' are {} numbers; at most {} are shown. Lower truncate_size.",
                   head.shape[0], *name, head.elements(), kMostValues);
  }
  const Vector values = TRY(to_floats(head, *name));
  return json_text(nested(values, head.shape));
}

asio::awaitable<void> answer_weights(const ServerState& state, TextPool& blocking,
                                     const OpenModel& open, const http::Request& request,
                                     http::Responder& responder) {
  auto work = [&] { return weights_text(state, open, request.body); };
  const auto text = co_await blocking.run(work);
  http::Response response;
  if (text) {
    response.body = *text;
  } else {
    response = error_response(ErrorShape::kNative, 400, text.error().message);
  }
  co_await responder.send(std::move(response));
}

}  // namespace

http::Handler update_weights_from_disk_handler(ServerState& state, TextPool& blocking,
                                               OpenModel open) {
  return [&state, &blocking, open = std::move(open)](const http::Request& request,
                                                     http::Responder& responder) {
    return answer_update(state, blocking, open, request, responder);
  };
}

http::Handler get_weights_by_name_handler(const ServerState& state, TextPool& blocking,
                                          OpenModel open) {
  return [&state, &blocking, open = std::move(open)](const http::Request& request,
                                                     http::Responder& responder) {
    return answer_weights(state, blocking, open, request, responder);
  };
}

}  // namespace fathom
