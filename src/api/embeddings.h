// POST /v1/embeddings and /encode (spec: http-api 5.5, 13): the final hidden state of the prompt's
// last token, scaled to length 1. Needs --is-embedding.
#pragma once

#include <memory>
#include <string>

#include "api/openai.h"

namespace fathom::api {

struct EmbeddingRequest {
  Job job;                // every prompt generates nothing
  OpenAiOptions options;  // of /v1/embeddings
  bool native = false;    // /encode
  bool batch = false;     // /encode: answered by an array
  bool base64 = false;    // little-endian FP32 instead of numbers
  int64_t dimensions = 0;
};

Parsed<EmbeddingRequest> parse_embeddings(const std::string& body, const Settings& settings);
Parsed<EmbeddingRequest> parse_encode(const std::string& body, const Settings& settings);
std::unique_ptr<Format> embedding_format(const EmbeddingRequest& request);

}  // namespace fathom::api
