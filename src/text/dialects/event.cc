#include "text/dialects/event.h"

#include <algorithm>

#include "base/json.h"

namespace fathom {

GatheredOutput gather(std::span<const DialectEvent> events) {
  GatheredOutput out;
  for (const DialectEvent& event : events) {
    switch (event.kind) {
      case DialectEvent::Kind::kReasoning:
        out.reasoning += event.text;
        break;
      case DialectEvent::Kind::kContent:
        out.content += event.text;
        break;
      case DialectEvent::Kind::kCallBegin:
        out.calls.push_back({.name = event.text, .arguments = ""});
        break;
      case DialectEvent::Kind::kArguments:
        out.calls.back().arguments += event.text;
        break;
      case DialectEvent::Kind::kCallEnd:
        break;
    }
  }
  return out;
}

bool GatheredOutput::calls_are_sound() const {
  return std::ranges::all_of(calls, [](const Call& call) {
    return Json::accept(call.arguments) && call.arguments.starts_with('{');
  });
}

}  // namespace fathom
