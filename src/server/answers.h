// Whole answers: JSON, or plain text as SGLang's control routes give it.
#pragma once

#include <string>
#include <utility>

#include "base/json.h"
#include "http/message.h"

namespace fathom {

inline http::Response json_response(const OrderedJson& json, int status = 200) {
  http::Response response;
  response.status = status;
  response.body = json_text(json);
  return response;
}

inline http::Response plain_text(std::string text) {
  http::Response response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

}  // namespace fathom
