// How busy the server is (spec: http-api 4): /get_load, the older form, and /v1/loads. Pure
// functions of plain values.
#pragma once

#include <string_view>

#include "base/result.h"
#include "server/info.h"

namespace fathom {

// {"weight", "kvcache" in GiB, "token_capacity", "graph"}
OrderedJson memory_usage(const ModelFacts& facts);

OrderedJson load_info(const EngineStats& stats);

// The raw query parameters of /v1/loads; empty ones are absent.
struct LoadsQuery {
  std::string_view sections;  // `include`
  std::string_view rank;      // `dp_rank`
  std::string_view format;    // json or prometheus
};
// Errors name the parameter.
Result<http::Response> loads_response(const ModelFacts& facts, const EngineStats& stats,
                                      const LoadsQuery& query);

}  // namespace fathom
