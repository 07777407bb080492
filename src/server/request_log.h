// --log-requests: one line when a request comes, one when its answer is sent.
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace fathom {

enum class RequestLogLevel {
  kOff = -1,
  kMetadata = 0,  // method, path, size
  kSampling = 1,  // and the sampling parameters
  kPartial = 2,   // the body's first 2,048 characters
  kFull = 3,
};

// The `obj=` part of the line: one line of text whatever the body holds.
std::string describe_request(const http::Request& request, RequestLogLevel level);
// The `out=` part.
std::string describe_output(std::string_view output, RequestLogLevel level);

}  // namespace fathom
