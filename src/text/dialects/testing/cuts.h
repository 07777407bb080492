// Runs a streaming parser over a text cut in different ways.
#pragma once

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/dialects/event.h"
#include "text/dialects/reasoning.h"
#include "text/dialects/tool_calls.h"

namespace fathom {

inline std::vector<std::string_view> whole(std::string_view text) {
  return {text};
}

inline std::vector<std::string_view> bytewise(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < text.size(); ++i) pieces.push_back(text.substr(i, 1));
  return pieces;
}

inline std::vector<std::string_view> random_cuts(std::string_view text, uint32_t seed) {
  std::minstd_rand random(seed);
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < text.size(); i += pieces.back().size()) {
    pieces.push_back(text.substr(i, 1 + random() % 24));
  }
  return pieces;
}

// Thoughts, then what is said with its calls, as an answer of the server is read.
inline DialectEvents read_pieces(const std::vector<std::string_view>& pieces,
                                 ReasoningParser thoughts, ToolCallParser calls) {
  DialectEvents events;
  const auto take = [&](ReasoningParser::Output out) {
    if (!out.reasoning.empty()) {
      events.push_back({DialectEvent::Kind::kReasoning, std::move(out.reasoning)});
    }
    if (!out.content.empty()) calls.push(out.content, events);
  };
  for (const std::string_view piece : pieces) take(thoughts.push(piece));
  take(thoughts.finish());
  calls.finish(events);
  return events;
}

// Adjacent pieces of one kind joined: what must not depend on the cuts.
inline DialectEvents joined(const DialectEvents& events) {
  DialectEvents out;
  for (const DialectEvent& event : events) {
    const bool same =
        !out.empty() && out.back().kind == event.kind && out.back().call == event.call &&
        event.kind != DialectEvent::Kind::kCallBegin && event.kind != DialectEvent::Kind::kCallEnd;
    same ? void(out.back().text += event.text) : out.push_back(event);
  }
  return out;
}

}  // namespace fathom
