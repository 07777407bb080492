// The HTTP parser: one request cut in two ways must parse to the same thing.
#include <cstdlib>
#include <string>

#include "http/request_parser.h"

using fathom::http::Request;
using fathom::http::RequestParser;
using Progress = RequestParser::Progress;

namespace {

struct Outcome {
  Progress progress = Progress::kNeedMore;
  Request request;
};

// Feeds `text`, at most `step` bytes more at a time.
Outcome parse(std::string_view text, size_t step) {
  RequestParser parser({.header_bytes = 4096, .header_lines = 20, .body_bytes = 4096});
  size_t begin = 0;
  size_t end = 0;
  Outcome outcome;
  while (true) {
    size_t consumed = 0;
    outcome.progress = parser.feed(text.substr(begin, end - begin), consumed);
    if (consumed > end - begin) std::abort();
    begin += consumed;
    if (outcome.progress == Progress::kDone || outcome.progress == Progress::kFailed) break;
    if (outcome.progress == Progress::kHeaderDone) continue;
    if (end == text.size()) return outcome;
    end = std::min(text.size(), end + step);
  }
  outcome.request = parser.take();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 16384) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Outcome whole = parse(text, size + 1);
  const Outcome bytewise = parse(text, 1);
  if (whole.progress == Progress::kDone &&
      (bytewise.progress != Progress::kDone || whole.request.body != bytewise.request.body ||
       whole.request.path != bytewise.request.path || whole.request.headers != bytewise.request.headers)) {
    std::abort();
  }
  if (whole.progress == Progress::kDone) {
    whole.request.query_value("a");
    whole.request.header("host");
  }
  return 0;
}
