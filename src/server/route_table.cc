#include "server/route_table.h"

#include "api/reading.h"
#include "server/admin/admin_routes.h"
#include "server/admin/cache_and_abort.h"
#include "server/answers.h"
#include "server/health.h"
#include "server/info.h"
#include "server/load_info.h"
#include "server/openapi.h"

namespace fathom {
namespace {

using Methods = std::vector<std::string_view>;

// A handler that makes its answer from the loaded model, at once.
template <class Make>
http::Handler answering(const ServerState& state, Make make) {
  return [&state, make](const http::Request& request, http::Responder& responder) {
    return responder.send(make(*state.model(), request));
  };
}

// Generation handlers exist only once the model is loaded.
http::Handler generating(const ServerState& state, http::Handler GenerationRoutes::* route) {
  return [&state, route](const http::Request& request, http::Responder& responder) {
    return (state.model()->routes.*route)(request, responder);
  };
}

http::Handler saying(std::string text) {
  return [text = std::move(text)](const http::Request&, http::Responder& responder) {
    http::Response response;
    response.body = text;
    return responder.send(std::move(response));
  };
}

using Conversion = api::Parsed<std::string> (*)(const std::string& body);

http::asio::awaitable<void> convert(TextPool& pool, Conversion conversion,
                                    const http::Request& request, http::Responder& responder) {
  auto body = co_await pool.run([&] { return conversion(request.body); });
  http::Response response;
  if (body) {
    response.body = std::move(*body);
  } else {
    response.status = body.error().status;
    response.body = api::error_body(body.error(), api::Shape::kNative);
  }
  co_await responder.send(std::move(response));
}

http::Handler metrics_handler(ServerState& state) {
  return [&state](const http::Request&, http::Responder& responder) {
    const LoadedModel* model = state.model();
    http::Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = state.metrics.text(model ? model->engine->stats() : EngineStats{});
    return responder.send(std::move(response));
  };
}

void add_information(std::vector<Route>& table, const RouteOptions& options, ServerState& state) {
  const auto args = std::make_shared<const OrderedJson>(options.server_args);
  const auto model_info_handler =
      answering(state, [args, &state](const LoadedModel&, const http::Request&) {
        return json_response(model_info(state.facts(), *args));
      });
  const auto server_info_handler =
      answering(state, [args, &state](const LoadedModel& model, const http::Request&) {
        OrderedJson info = server_info(state.facts(), *args, model.engine->stats());
        const OrderedJson tuned = state.tuned_args();
        info.update(tuned);
        for (OrderedJson& rank : info["internal_states"]) rank.update(tuned);
        return json_response(info);
      });
  const auto add = [&table](std::string path, http::Handler handler) -> Route& {
    table.push_back({std::move(path),
                     {"GET"},
                     Access::kNormal,
                     Needs::kModel,
                     ErrorShape::kDetail,
                     std::move(handler)});
    return table.back();
  };
  for (const char* path : {"/get_model_info", "/model_info"}) add(path, model_info_handler);
  for (const char* path : {"/get_server_info", "/server_info"}) add(path, server_info_handler);
  add("/get_load", answering(state, [](const LoadedModel& model, const http::Request&) {
        return json_response(load_info(model.engine->stats()));
      }));
  add("/v1/loads", answering(state, [](const LoadedModel& model, const http::Request& request) {
        const std::string sections = request.query_value("include");
        const std::string rank = request.query_value("dp_rank");
        const std::string format = request.query_value("format");
        const auto response =
            loads_response(model.facts, model.engine->stats(),
                           {.sections = sections, .rank = rank, .format = format});
        return response ? *response
                        : error_response(ErrorShape::kNative, 400, response.error().message);
      }));
  add("/v1/models", answering(state, [](const LoadedModel& model, const http::Request&) {
        return models_response(model.facts);
      }));
  Route& card = add(
      "/v1/models/", answering(state, [](const LoadedModel& model, const http::Request& request) {
        constexpr std::string_view kPrefix = "/v1/models/";  // behind --fastapi-root-path
        return model_response(
            model.facts,
            std::string_view(request.path).substr(request.path.find(kPrefix) + kPrefix.size()));
      }));
  card.any_suffix = true;
  card.errors = ErrorShape::kNested;
}

void add_health(std::vector<Route>& table, const RouteOptions& options, ServerState& state) {
  const double timeout = options.health_timeout_seconds;
  const auto add = [&table](std::string path, http::Handler handler) {
    table.push_back({std::move(path),
                     {"GET"},
                     Access::kOpen,
                     Needs::kNothing,
                     ErrorShape::kDetail,
                     std::move(handler)});
  };
  add("/health", health_handler(state, timeout));
  add("/health_generate", health_generate_handler(state, timeout));
  add("/ready", ready_handler(state));
  add("/ping", ping_handler(state));
  if (options.enable_metrics) add("/metrics", metrics_handler(state));
  table.push_back({"/",
                   {"GET", "HEAD"},
                   Access::kNormal,
                   Needs::kNothing,
                   ErrorShape::kDetail,
                   saying("\"SGLang is running\"")});
}

void add_generation(std::vector<Route>& table, ServerState& state) {
  const auto add = [&](std::string path, Methods methods, Needs needs, ErrorShape errors,
                       http::Handler GenerationRoutes::* route) {
    table.push_back({std::move(path), std::move(methods), Access::kNormal, needs, errors,
                     generating(state, route)});
  };
  using Routes = GenerationRoutes;
  constexpr auto kFlat = ErrorShape::kFlat;
  add("/generate", {"POST", "PUT"}, Needs::kGeneration, ErrorShape::kNative, &Routes::generate);
  add("/v1/completions", {"POST"}, Needs::kGeneration, kFlat, &Routes::completions);
  add("/v1/chat/completions", {"POST"}, Needs::kGeneration, kFlat, &Routes::chat_completions);
  add("/vertex_generate", {"POST"}, Needs::kGeneration, ErrorShape::kNative,
      &Routes::vertex_generate);
  add("/invocations", {"POST"}, Needs::kGeneration, kFlat, &Routes::chat_completions);  // SageMaker
  constexpr auto kAnthropic = ErrorShape::kAnthropic;
  add("/v1/messages", {"POST"}, Needs::kGeneration, kAnthropic, &Routes::messages);
  add("/v1/messages/count_tokens", {"POST"}, Needs::kModel, kAnthropic, &Routes::count_tokens);
  add("/v1/responses", {"POST"}, Needs::kGeneration, ErrorShape::kNested, &Routes::responses);
  add("/v1/embeddings", {"POST"}, Needs::kGeneration, kFlat, &Routes::embeddings);
  add("/encode", {"POST", "PUT"}, Needs::kGeneration, ErrorShape::kNative, &Routes::encode);
  add("/v1/score", {"POST"}, Needs::kGeneration, kFlat, &Routes::score);
  add("/tokenizer_info", {"GET"}, Needs::kModel, ErrorShape::kDetail, &Routes::tokenizer_info);
  for (const char* path : {"/tokenize", "/v1/tokenize"}) {
    add(path, {"POST"}, Needs::kModel, kFlat, &Routes::tokenize);
  }
  for (const char* path : {"/detokenize", "/v1/detokenize"}) {
    add(path, {"POST"}, Needs::kModel, kFlat, &Routes::detokenize);
  }
}

// What belongs to models or stores that this server never has: a clear no.
void add_absent(std::vector<Route>& table) {
  table.push_back(
      {"/v1/responses/",
       {"GET", "POST", "DELETE"},
       Access::kNormal,
       Needs::kNothing,
       ErrorShape::kNested,
       refusing_handler(ErrorShape::kNested, 404, "Responses are not stored by this server."),
       true});
  for (const char* path : {"/classify", "/v1/classify", "/v1/rerank"}) {
    const auto shape =
        std::string_view(path).starts_with("/v1") ? ErrorShape::kFlat : ErrorShape::kNative;
    table.push_back({path,
                     {"POST"},
                     Access::kNormal,
                     Needs::kNothing,
                     shape,
                     refusing_handler(shape, 400,
                                      "This model is not a classifier or reranker; see /v1/score "
                                      "and /v1/embeddings.")});
  }
}

// Texts read as answers are.
void add_reading(std::vector<Route>& table, TextPool& pool) {
  const auto add = [&](std::string path, Conversion conversion) {
    table.push_back({std::move(path),
                     {"POST"},
                     Access::kNormal,
                     Needs::kNothing,
                     ErrorShape::kNative,
                     [&pool, conversion](const http::Request& request, http::Responder& responder) {
                       return convert(pool, conversion, request, responder);
                     }});
  };
  add("/separate_reasoning", api::separate_reasoning);
  add("/parse_function_call", api::parse_function_call);
}

void add_document(std::vector<Route>& table) {
  const auto text = std::make_shared<std::string>();
  table.push_back({"/openapi.json",
                   {"GET"},
                   Access::kNormal,
                   Needs::kNothing,
                   ErrorShape::kDetail,
                   [text](const http::Request&, http::Responder& responder) {
                     http::Response response;
                     response.body = *text;
                     return responder.send(std::move(response));
                   }});
  *text = json_text(openapi_document(table));
}

}  // namespace

std::vector<Route> route_table(const RouteOptions& options, ServerState& state, TextPool& blocking,
                               TextPool& reading) {
  std::vector<Route> table;
  add_generation(table, state);  // first: looked up most often
  add_health(table, options, state);
  add_information(table, options, state);
  add_absent(table);
  add_reading(table, reading);
  add_admin_routes(table, options, state, blocking);
  add_document(table);  // last: it describes the others
  return table;
}

}  // namespace fathom
