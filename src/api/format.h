// The shape of one route's answers. The generation flow feeds choices as they grow; a Format turns
// what is new into SSE events, or everything into one body. One object per request.
#pragma once

#include <memory>
#include <string>
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

  using Events = std::vector<std::string>;  // each "data: {...}\n\n"
  // Appends the events for what choice `index` has gained since the last call; may append nothing.
  virtual void append_chunk(Events& out, size_t index, const Choice& choice) = 0;
  // Appends what follows when all choices are finished, before `data: [DONE]`.
  virtual void append_closing(Events& out, const std::vector<Choice>& choices) = 0;

  // The whole answer of a request that does not stream.
  virtual std::string answer(const std::vector<Choice>& choices) = 0;
};

}  // namespace fathom::api
