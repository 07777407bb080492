#include "server/load_info.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

#include "base/units.h"
#include "server/version.h"

namespace fathom {
namespace {

double gibibytes(int64_t bytes) {
  return static_cast<double>(bytes) / kGiB;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S+00:00", &parts);
  return text;
}

// What `include` asks for; without it everything.
struct Sections {
  bool memory = false;
  bool queues = false;
};

Result<Sections> parse_sections(std::string_view text) {
  constexpr std::array<std::string_view, 7> kNames = {"core",   "memory", "spec", "lora",
                                                      "disagg", "queues", "all"};
  Sections sections{.memory = text.empty(), .queues = text.empty()};
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view name = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (std::ranges::find(kNames, name) == kNames.end()) {
      return invalid(
          "include: unknown section '{}'; choose from core, memory, spec, lora, disagg, "
          "queues, all",
          name);
    }
    sections.memory |= name == "memory" || name == "all";
    sections.queues |= name == "queues" || name == "all";
  }
  return sections;
}

OrderedJson load_of(const ModelFacts& facts, const EngineStats& stats, const Sections& sections) {
  const double running_share =
      facts.max_running > 0 ? static_cast<double>(stats.running) / facts.max_running : 0;
  OrderedJson load = {
      {"timestamp", utc_now()},
      {"dp_rank", 0},
      {"num_running_reqs", stats.running},
      {"num_waiting_reqs", stats.queued},
      {"num_waiting_uncached_tokens", stats.queued_tokens},
      {"num_used_tokens", stats.used_tokens},
      {"num_total_tokens", stats.used_tokens + stats.queued_tokens},
      {"num_active_tokens", stats.used_tokens},
      {"max_total_num_tokens", facts.pool_tokens},
      {"max_running_requests", facts.max_running},
      {"token_usage", stats.token_usage},
      {"gen_throughput", stats.gen_throughput},
      {"cache_hit_rate", stats.cache_hit_rate},
      {"utilization", running_share},
      {"total_prefill_uncached_tokens", stats.prefill_compute_tokens},
      {"total_prefill_busy_us",
       std::llround((stats.prefill_passes.seconds + stats.mixed_passes.seconds) * 1e6)}};
  if (sections.memory) load["memory"] = memory_usage(facts);
  if (sections.queues)
    load["queues"] = {{"waiting", stats.queued}, {"retracted", stats.retractions}};
  return load;
}

// The numbers of a load as gauges.
std::string prometheus_text(const OrderedJson& load) {
  std::string text;
  for (const auto& [name, value] : load.items()) {
    if (!value.is_number() || name == "dp_rank") continue;
    text += fmt::format("# TYPE sglang_load_{0} gauge\nsglang_load_{0}{{dp_rank=\"0\"}} {1}\n",
                        name, json_text(value));
  }
  return text;
}

}  // namespace

OrderedJson memory_usage(const ModelFacts& facts) {
  return {{"weight", gibibytes(facts.weight_bytes)},
          {"kvcache", gibibytes(facts.kv_bytes)},
          {"token_capacity", facts.pool_tokens},
          {"graph", 0.0}};
}

OrderedJson load_info(const EngineStats& stats) {
  return OrderedJson::array({{{"rid", nullptr},
                              {"dp_rank", 0},
                              {"num_reqs", stats.running + stats.queued},
                              {"num_waiting_reqs", stats.queued},
                              {"num_tokens", stats.used_tokens + stats.queued_tokens}}});
}

Result<http::Response> loads_response(const ModelFacts& facts, const EngineStats& stats,
                                      const LoadsQuery& query) {
  const Sections sections = TRY(parse_sections(query.sections));
  if (!query.rank.empty() && query.rank != "0") {
    return invalid("dp_rank must be in [0, 0], got '{}'", query.rank);
  }
  const OrderedJson load = load_of(facts, stats, sections);
  http::Response response;
  if (query.format == "prometheus") {
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = prometheus_text(load);
    return response;
  }
  if (!query.format.empty() && query.format != "json") {
    return invalid("format must be json or prometheus, got '{}'", query.format);
  }
  response.body = json_text(OrderedJson{{"timestamp", utc_now()},
                                        {"version", kVersion},
                                        {"accelerator", "cpu"},
                                        {"num_accelerators", 1},
                                        {"loads", OrderedJson::array({load})}});
  return response;
}

}  // namespace fathom
