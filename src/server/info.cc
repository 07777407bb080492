#include "server/info.h"

#include "server/answers.h"
#include "server/load_info.h"
#include "server/version.h"

namespace fathom {
namespace {

// A flag's value as given, or null.
OrderedJson flag(const OrderedJson& server_args, const char* name) {
  return server_args.is_object() && server_args.contains(name) ? server_args[name] : OrderedJson();
}

OrderedJson name_or_null(const std::string& name) {
  return name.empty() ? OrderedJson() : OrderedJson(name);
}

}  // namespace

OrderedJson model_card(const ModelFacts& facts) {
  return {{"id", facts.served_name},
          {"object", "model"},
          {"created", facts.created},
          {"owned_by", "sglang"},
          {"root", facts.served_name},
          {"parent", nullptr},
          {"max_model_len", facts.context_length}};
}

http::Response models_response(const ModelFacts& facts) {
  return json_response({{"object", "list"}, {"data", OrderedJson::array({model_card(facts)})}});
}

http::Response model_response(const ModelFacts& facts, std::string_view id) {
  if (id == facts.served_name) return json_response(model_card(facts));
  return json_response({{"error",
                         {{"message", fmt::format("The model '{}' does not exist", id)},
                          {"type", "invalid_request_error"},
                          {"param", "model"},
                          {"code", "model_not_found"}}}},
                       404);
}

OrderedJson model_info(const ModelFacts& facts, const OrderedJson& server_args) {
  OrderedJson info = {{"model_path", facts.model_path},
                      {"tokenizer_path", facts.tokenizer_path},
                      {"is_generation", flag(server_args, "is_embedding") != true},
                      {"preferred_sampling_params", flag(server_args, "preferred_sampling_params")},
                      {"served_model_name", facts.served_name},
                      {"weight_version", facts.weight_version},
                      {"load_format", facts.load_format},
                      {"reasoning_parser", name_or_null(facts.reasoning_parser)},
                      {"tool_call_parser", name_or_null(facts.tool_call_parser)},
                      {"disaggregation_mode", "null"},
                      {"has_image_understanding", false},
                      {"has_audio_understanding", false},
                      {"model_type", facts.model_type},
                      {"architectures", OrderedJson::array({facts.architecture})},
                      {"vocab_size", facts.vocab_size},
                      {"eos_token_ids", facts.eos_tokens},
                      {"bos_token_id", nullptr},
                      {"max_context_len", facts.context_length}};
  if (facts.bos_token) info["bos_token_id"] = *facts.bos_token;
  return info;
}

OrderedJson server_info(const ModelFacts& facts, const OrderedJson& server_args,
                        const EngineStats& stats) {
  OrderedJson measured = {{"last_gen_throughput", stats.gen_throughput},
                          {"memory_usage", memory_usage(facts)},
                          {"effective_max_running_requests_per_dp", facts.max_running}};
  const OrderedJson resolved = {{"model_path", facts.model_path},
                                {"tokenizer_path", facts.tokenizer_path},
                                {"served_model_name", facts.served_name},
                                {"context_length", facts.context_length},
                                {"max_running_requests", facts.max_running},
                                {"max_total_tokens", facts.pool_tokens},
                                {"page_size", facts.page_size},
                                {"chunked_prefill_size", facts.chunked_prefill_size},
                                {"mem_fraction_static", facts.mem_fraction},
                                {"reasoning_parser", name_or_null(facts.reasoning_parser)},
                                {"tool_call_parser", name_or_null(facts.tool_call_parser)}};
  OrderedJson state = server_args.is_object() ? server_args : OrderedJson::object();
  state.update(resolved);
  state.update(measured);

  OrderedJson info = state;
  info["max_total_num_tokens"] = facts.pool_tokens;
  info["max_req_input_len"] = facts.max_request_tokens;
  info["status"] = "ready";
  info["startup_time"] = facts.startup_seconds;
  info["version"] = kVersion;
  info["internal_states"] = OrderedJson::array({state});
  return info;
}

}  // namespace fathom
