// What the text of an answer says, in order and piece by piece: thoughts, then what is said, then
// calls of tools. Concatenated pieces never depend on how the text arrived.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fathom {

struct DialectEvent {
  enum class Kind {
    kReasoning,  // text: a piece of the thoughts
    kContent,    // text: a piece of what is said
    kCallBegin,  // text: the function's name
    kArguments,  // text: a piece of the arguments, JSON text as the model wrote it
    kCallEnd,    // text is empty: the arguments are complete
  };
  Kind kind = Kind::kContent;
  std::string text;
  int32_t call = -1;  // ordinal of the call, from 0; -1 beside thoughts and content

  bool operator==(const DialectEvent&) const = default;
};
using DialectEvents = std::vector<DialectEvent>;

// All pieces of an answer put together.
struct GatheredOutput {
  struct Call {
    std::string name;
    std::string arguments;  // a JSON object, unless the answer was cut or the model wrote none
    bool operator==(const Call&) const = default;
  };
  std::string reasoning, content;
  std::vector<Call> calls;
  bool operator==(const GatheredOutput&) const = default;

  // Whether all arguments are JSON objects. If not, whoever has the whole text shows it as content
  // rather than as calls (spec: sampling-and-output 8).
  bool calls_are_sound() const;
};
GatheredOutput gather(std::span<const DialectEvent> events);

}  // namespace fathom
