// An answer in plain text, as SGLang's control routes give it.
#pragma once

#include <string>
#include <utility>

#include "http/message.h"

namespace fathom {

inline http::Response plain_text(std::string text) {
  http::Response response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

}  // namespace fathom
