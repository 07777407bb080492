// Finds calls of tools in what a model says (spec: sampling-and-output 8). A new dialect of the
// same build (marker, head, marker, arguments, marker) is one row of the table in tool_calls.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/dialects/event.h"

namespace fathom {

struct ToolDialect {
  std::string_view name;  // value of --tool-call-parser
  std::string_view calls_begin, call_begin, separator, call_end, calls_end;
  // V3 and R1: "function" <separator> NAME, then the arguments in a fenced json block.
  // V3.1: NAME <separator> arguments.
  bool fenced = false;
};

// kInvalid lists the names.
Result<const ToolDialect*> find_tool_dialect(std::string_view name);
// DeepSeek-V3's.
const ToolDialect& default_tool_dialect();
// The dialect that a chat template (made for tools) writes; null: none that is known.
const ToolDialect* tool_dialect_of(std::string_view template_source);

// A call is a call from its head on: marker, name of a known tool, and the brace that begins its
// arguments. What only looks like one is content, to the last byte. Markers, fences and the space
// around calls belong to neither.
class ToolCallParser {
 public:
  ToolCallParser(const ToolDialect& dialect, std::vector<std::string> tools)
      : dialect_(&dialect), tools_(std::move(tools)) {}

  // Appends kContent, kCallBegin, kArguments and kCallEnd.
  void push(std::string_view text, DialectEvents& out);
  // End of text: releases what was held back; a call that is cut short stays without its kCallEnd.
  void finish(DialectEvents& out);

 private:
  enum class State { kContent, kHead, kArguments, kTail };
  // Each returns false when it needs more text, and otherwise has moved on.
  bool read_content(DialectEvents& out);
  bool read_head(DialectEvents& out);
  bool read_arguments(DialectEvents& out);
  bool read_tail();

  void say(std::string_view text, DialectEvents& out);
  void release_lead(DialectEvents& out);

  const ToolDialect* dialect_;
  std::vector<std::string> tools_;
  State state_ = State::kContent;
  std::string text_;       // not yet understood
  std::string lead_;       // space and markers: content, unless a call follows
  bool in_calls_ = false;  // after a call: an end marker is part of it
  int32_t calls_ = 0;
  // Inside the arguments.
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace fathom
