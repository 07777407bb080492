// POST /v1/score (spec: http-api 13): how likely each label token is to follow the query and an
// item.
#pragma once

#include <memory>
#include <string>

#include "api/openai.h"

namespace fathom::api {

struct ScoreRequest {
  Job job;  // one prompt per item
  OpenAiOptions options;
  bool softmax = false;  // over the labels alone
};

Parsed<ScoreRequest> parse_score(const std::string& body, const Settings& settings);
std::unique_ptr<Format> score_format(const ScoreRequest& request);

}  // namespace fathom::api
