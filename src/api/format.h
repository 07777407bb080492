// The shape of one route's answers. The generation flow feeds choices as they grow; a Format turns
// what is new into SSE events, or everything into one body. One object per request.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/choice.h"
#include "api/errors.h"

namespace fathom::api {

class Format {
 public:
  virtual ~Format() = default;
  virtual Shape error_shape() const = 0;
  // Before anything else: the tokens of each prompt.
  virtual void set_prompts(std::vector<std::vector<int32_t>> prompt_ids) = 0;

  using Events = std::vector<std::string>;  // each ends with an empty line
  // Appends the events for what choice `index` has gained since the last call; may append nothing.
  virtual void append_chunk(Events& out, size_t index, const Choice& choice) = 0;
  // Appends what follows when all choices are finished.
  virtual void append_closing(Events& out, const std::vector<Choice>& choices) = 0;
  // Appends what follows instead when the request fails after its 200 was sent.
  virtual void append_failure(Events& out, const Failure& failure) {
    out.push_back(error_event(failure));
  }
  // The last event in either case; "" where the names of events carry the end.
  virtual std::string_view terminator() const { return "data: [DONE]\n\n"; }

  // The whole answer of a request that does not stream.
  virtual std::string answer(const std::vector<Choice>& choices) = 0;
};

}  // namespace fathom::api
